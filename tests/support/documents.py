"""What the documents tell people to type: their blocks of commands, read from the documents themselves."""

import os
import re

import harness

MARKS = re.compile(r"^(?P<heading>#+ [^\n]*)\n|^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


def text_of(path):
    with open(os.path.join(harness.ROOT, path), encoding="utf-8") as f:
        return f.read()


def blocks(path):
    """[(the heading above, the block)] of every block between ``` in a document, in order."""
    found, heading = [], ""
    for mark in MARKS.finditer(text_of(path)):
        if mark["heading"]:
            heading = mark["heading"].lstrip("# ")
        else:
            found.append((heading, mark["text"]))
    return found


def commands(block):
    """Its lines without the remarks behind them."""
    return [re.sub(r"  +#.*$", "", line) for line in block.splitlines()]
