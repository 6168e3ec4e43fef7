"""x."""


def main(photos):
    return 0
