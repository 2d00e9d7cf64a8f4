"""`python -m jaxnum` is the command `jaxnum`."""

from jaxnum.cli import main

if __name__ == "__main__":
    main()
