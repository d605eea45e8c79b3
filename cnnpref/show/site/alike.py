"""Which units of a layer are like another one."""

from __future__ import annotations

from dataclasses import dataclass

from cnnpref.show.site.material import Material

_MOST = 8


@dataclass(frozen=True)
class Alike:
    """The units most like another, the most alike first.

    Attributes:
        title: of the section.
        about: how likeness was measured.
        sign: what the number is called.
        units: of the run, each with how much it is alike.
    """

    title: str
    about: str
    sign: str
    units: list[tuple[int, float]]


def alike(material: Material, unit: int) -> Alike:
    """By what natural images do to units, or else by the weights of those with the same inputs."""
    references = material.references
    if references:
        near = references.nearest(unit) if unit in references else []
        title, sign = "Units that answer alike", "r"
        about = "Correlation r of their highest activations over the reference images."
    else:
        near = material.alike.get(unit, [])
        title, sign = "Units with similar weights", "cos"
        about = (
            "Cosine of the angle between their weights. How alike units answer to natural images is"
            " known only with references."
        )
    here = next(iter(material.firsts.values())).rows
    known = [(other, r) for other, r in near if other in here and r > 0]
    return Alike(title, about, sign, known[:_MOST])
