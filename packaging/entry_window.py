"""The window program of the bundle."""

import multiprocessing

if __name__ == "__main__":
    multiprocessing.freeze_support()
    from denoisetool.launch import window

    window()
