"""A place for the window in the file manager's menus, made and taken away again on request.

entries.py   what is written for Linux, Windows and macOS
books.py     which files those were, so that these and no others are replaced and removed
"""

from denoisetool.desktop.books import Piece, install, remove, status
from denoisetool.desktop.entries import Entry, describe

__all__ = ["Entry", "Piece", "describe", "install", "remove", "status"]
