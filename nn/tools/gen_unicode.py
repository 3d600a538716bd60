#!/usr/bin/env python3
"""Writes nn/src/unicode_tables.inc from Python's unicodedata. Run by hand; the output is committed.

    python3 nn/tools/gen_unicode.py > nn/src/unicode_tables.inc
"""
import sys
import unicodedata as u

LAST = 0x110000
WHITE = [0x9, 0xA, 0xB, 0xC, 0xD, 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
         0x202F, 0x205F, 0x3000]  # property White_Space, PropList.txt


def ranges(test):
    out, start = [], None
    for cp in range(LAST + 1):
        on = cp < LAST and test(cp)
        if on and start is None:
            start = cp
        elif not on and start is not None:
            out.append((start, cp - 1))
            start = None
    return out


def table(name, rows, width):
    print(f"static const uint32_t {name}[][{width}] = {{")
    line = "   "
    for row in rows:
        cell = " {" + ", ".join(hex(v) for v in row) + "},"
        if len(line) + len(cell) > 100:
            print(line)
            line = "   "
        line += cell
    print(line)
    print("};\n")


def canonical(cp):
    d = u.decomposition(chr(cp))
    return [int(x, 16) for x in d.split()] if d and not d.startswith("<") else []


def composes(cp):
    d = canonical(cp)
    return len(d) == 2 and u.normalize("NFC", chr(d[0]) + chr(d[1])) == chr(cp)


def main():
    print(f"/* Made by nn/tools/gen_unicode.py from Unicode {u.unidata_version}; do not edit. */")
    table("letters", ranges(lambda c: u.category(chr(c))[0] == "L"), 2)
    table("numbers", ranges(lambda c: u.category(chr(c))[0] == "N"), 2)
    table("spaces", ranges(lambda c: c in WHITE), 2)
    symbols = [*range(0x24B6, 0x24EA), *range(0x1F130, 0x1F14A), *range(0x1F150, 0x1F16A),
               *range(0x1F170, 0x1F18A), 0x200C, 0x200D]  # Other_Alphabetic symbols, Join_Control
    print("/* \\w of regular expressions, UTS 18 */")
    table("word_chars", ranges(lambda c: u.category(chr(c)) in ("Nd", "Nl", "Pc") or c in symbols
                               or u.category(chr(c))[0] in "LM"), 2)
    classes = []
    for cp in range(LAST):
        ccc = u.combining(chr(cp))
        if ccc and classes and classes[-1][1] == cp - 1 and classes[-1][2] == ccc:
            classes[-1] = (classes[-1][0], cp, ccc)
        elif ccc:
            classes.append((cp, cp, ccc))
    print("/* first, last, canonical combining class */")
    table("combining", classes, 3)
    dec = [(cp, *(canonical(cp) + [0])[:2]) for cp in range(LAST) if canonical(cp)]
    print("/* code point, its canonical decomposition (second 0 when there is one) */")
    table("decompositions", dec, 3)
    comp = sorted((*canonical(cp), cp) for cp in range(LAST) if composes(cp))
    print("/* first, second, what they compose to; sorted */")
    table("compositions", comp, 3)
    jamo = [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]  # compose by rule
    maybe = ranges(lambda c: not u.is_normalized("NFC", chr(c)) or u.combining(chr(c)) != 0
                   or c in jamo or any(c == r[1] for r in comp))
    print("/* code points that can make a text other than NFC (quick check No or Maybe) */")
    table("nfc_suspects", maybe, 2)


if __name__ == "__main__":
    sys.exit(main())
