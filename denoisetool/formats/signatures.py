"""First bytes of kinds of files that are recognised but not processed."""

from __future__ import annotations

RAW_HINT = "develop it with a raw converter and give the TIFF or JPEG"
EXPORT_HINT = "export it as JPEG, PNG or TIFF first"

_STARTS = (
    (b"GIF8", "a GIF file"),
    (b"8BPS", "a Photoshop (PSD) file"),
    (b"%PDF", "a PDF document"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL file"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 file"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (b"#?RADIANCE", "a Radiance HDR file"),
    (b"FUJIFILMCCD-RAW", "a camera raw file (RAF)"),
    (b"IIRO", "a camera raw file (ORF)"),
    (b"IIRS", "a camera raw file (ORF)"),
    (b"MMOR", "a camera raw file (ORF)"),
    (b"IIU\0", "a camera raw file (RW2)"),
    (b"FOVb", "a camera raw file (X3F)"),
    (b"\0MRM", "a camera raw file (MRW)"),
    (b"\0\0\x01\0", "an icon (ICO) file"),
    (b"II\xbc\x01", "a JPEG XR file"),
    (b"gimp xcf", "a GIMP (XCF) file"),
)
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"miaf"})
_VIDEO = frozenset(
    {b"isom", b"iso2", b"mp41", b"mp42", b"qt  ", b"M4V ", b"avc1", b"3gp4", b"3gp5"}
)


def brands(head: bytes) -> list[bytes]:
    """The major and compatible brands of an ISO media file (ISO/IEC 14496-12); [] of others."""
    if head[4:8] != b"ftyp":
        return []
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]


def unsupported_kind(head: bytes) -> str | None:
    """The kind of a file that is recognised but refused, in words; None for all others.

    Args:
        head: the file's first 64 bytes or more.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"II*\0" and head[8:10] == b"CR":
        return "a camera raw file (CR2)"
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:12] in (b"IIII", b"MMMM"):
        return "a camera raw file (IIQ)"
    found = brands(head)
    if not found or {b"avif", b"avis"} & set(found):
        return None
    if found[0] == b"crx ":
        return "a camera raw file (CR3)"
    if _HEIF & set(found):
        return "a HEIC (HEIF) file"
    return "a video" if found[0] in _VIDEO else "an unknown media file"


def advice(kind: str) -> str:
    """What to do with a file of an unsupported kind."""
    if "raw" in kind:
        return RAW_HINT
    if kind == "a video":
        return "only still pictures are processed"
    return EXPORT_HINT
