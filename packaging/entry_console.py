"""The console program of the bundle."""

import multiprocessing

if __name__ == "__main__":
    multiprocessing.freeze_support()  # the watch's worker starts here: nothing may come before
    from denoisetool.launch import console

    console()
