"""Colour spaces that a file names by numbers (CICP, ITU-T H.273) and not by a profile."""

from __future__ import annotations

PRIMARIES = {1: "BT.709", 2: "", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
TRANSFERS = {8: "linear", 16: "PQ", 18: "HLG"} | dict.fromkeys((1, 2, 6, 13, 14, 15), "")
"""Names of transfer characteristics; those of BT.709, BT.2020 and sRGB are taken as one."""


def name(primaries: int, transfer: int) -> str:
    """The colour space in words; "" for sRGB, BT.709 and an unspecified one."""
    curve = TRANSFERS.get(transfer, f"transfer {transfer}")
    if primaries == 1 and not curve:
        return ""
    return " ".join(filter(None, (PRIMARIES.get(primaries, f"primaries {primaries}"), curve)))
