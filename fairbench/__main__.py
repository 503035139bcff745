"""`python -m fairbench`."""

from fairbench.cli.app import main

if __name__ == "__main__":
    main()
