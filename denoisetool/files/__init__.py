"""Files and folders: what to read, where to write, how to write safely, what is done already.

    sources.py   inputs on the command line -> Source, Skipped or Problem, one per file
    targets.py   sources -> one target each, all decided before anything is written
    template.py  what `--name` may say
    names.py     the spelling rules these share
    atomic.py    a target appears whole or not at all
    index.py     which outputs we made, from what and how: the memory behind "skip what is done"
    content.py   hashes of what files hold
    database.py  the SQLite file under the index, and under a watch's ledger

Nothing here knows a picture format: what a file holds is asked through two callables.
"""

from denoisetool.files.atomic import (
    STALE_SECONDS,
    atomic_write,
    clean_leftovers,
    errors_told,
    free_bytes,
    is_temporary,
)
from denoisetool.files.content import Identity, digest, digest_file, identify
from denoisetool.files.index import Index, Verdict, state_folder
from denoisetool.files.names import PHOTO_SUFFIXES, fold, natural_key, split_suffix
from denoisetool.files.sources import (
    HEAD_BYTES,
    Found,
    Problem,
    Skipped,
    Source,
    look,
    passed_over,
    walk,
)
from denoisetool.files.targets import (
    NAME_BESIDE,
    Destination,
    Plan,
    Planned,
    destination,
    plan,
    tagged,
    target_key,
)
from denoisetool.files.template import Template

__all__ = [
    "HEAD_BYTES",
    "NAME_BESIDE",
    "PHOTO_SUFFIXES",
    "STALE_SECONDS",
    "Destination",
    "Found",
    "Identity",
    "Index",
    "Plan",
    "Planned",
    "Problem",
    "Skipped",
    "Source",
    "Template",
    "Verdict",
    "atomic_write",
    "clean_leftovers",
    "destination",
    "digest",
    "digest_file",
    "errors_told",
    "fold",
    "free_bytes",
    "identify",
    "is_temporary",
    "look",
    "natural_key",
    "passed_over",
    "plan",
    "split_suffix",
    "state_folder",
    "tagged",
    "target_key",
    "walk",
]
