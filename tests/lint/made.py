"""Documents that are made from a table of the code."""


def settle(what, path, text, complaint):
    """Exit code. `what` is `write`, or `check`: then a document that differs is a complaint and stays."""
    with open(path, encoding="utf-8") as file:
        if file.read() == text:
            return 0
    if what == "check":
        print(f"{complaint}: `make docs` writes it")
        return 1
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return 0
