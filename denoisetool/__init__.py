"""Take the noise out of photographs; see ARCHITECTURE.md for where everything lives."""

__version__ = "0.1.0"
