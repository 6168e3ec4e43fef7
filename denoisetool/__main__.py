"""`python -m denoisetool` is the `denoisetool` command."""

from denoisetool.cli import main

if __name__ == "__main__":
    main()
