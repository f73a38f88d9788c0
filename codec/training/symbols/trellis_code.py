"""The state machine of the trellis: a convolutional code, which says which points may follow each
other.

The points of both quantisers, in order along the line, belong to four subsets in turn; the plain
quantiser has the even ones, its even values in the first and its odd ones in the third, the shifted
quantiser the others. A sequence of points is allowed if what it says of subsets is a word of a code
whose words lie far from each other: those of Ungerboeck 1982 ("Channel coding with multilevel/phase
signals", table I), which Marcellin and Fischer 1990 quantise with.
"""

from __future__ import annotations

# Parity-check polynomials of 256 states. At high rate, over a uniform step as costly: 1.32 dB; 8,
# 16, 32, 64 states have 1.08, 1.14, 1.21, 1.25 dB, the four of VVC 0.99. Only the encoder takes
# longer for more.
MEMORY, CHECK_SHIFTED, CHECK_PARITY = 8, 0o515, 0o362


def state_machine(memory: int, check_shifted: int, check_parity: int) -> tuple[list, list]:
    """`next` and `shifted` of a trellis (docs/format/specification.md) with 2^memory states.

    check_shifted, check_parity: polynomials h0, with its first and last coefficient 1, and h1, with
    both 0, the highest bit that of D^0. Sequences s of quantisers (1: shifted) and p of parities
    are allowed where h0(D) s + h1(D) p = 0 modulo 2: the canonical systematic encoder with
    feedback.
    """
    following, shifted = [], []
    for state in range(1 << memory):
        s = state >> (memory - 1)
        shifted.append(s)
        kept = state << 1 & ((1 << memory) - 1)
        after = kept ^ (s * check_shifted & ((1 << memory) - 1))
        odd = after ^ (check_parity & ((1 << memory) - 1))
        following.append([after, odd])
    return following, shifted
