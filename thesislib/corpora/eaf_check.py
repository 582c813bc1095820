"""The first step of reading an ELAN file: is it XML, is it ELAN's, will pympi lose nothing?"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from thesislib.corpora.annotation import Repair
from thesislib.errors import InputError

MAX_BYTES = 64 * 2**20  # an hour with 15,000 segments is 5 MB
MEND = "open the file in ELAN and mend the segment there"
SPAN = "annotatedSpan"  # a document property of ours; ELAN keeps properties that it does not know
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
XSI = "http://www.w3.org/2001/XMLSchema-instance"


def parse(path: Path) -> ElementTree.Element:
    """The XML root, with no document type allowed: pympi's own parser would expand entities."""
    mend = "take the file from its source again, or save it anew in ELAN"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(path, f"is larger than {MAX_BYTES >> 20} MiB", mend)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the path") from error
    if not data.strip():
        raise InputError(path, "is empty", mend)
    try:
        root: ElementTree.Element = defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise InputError(
            path, "declares a document type or entities", "save it anew in ELAN"
        ) from error
    except ElementTree.ParseError as error:
        line, column = error.position
        raise InputError(
            path, f"is not XML ({error.msg})", mend, where=f"line {line}, column {column}"
        ) from error
    except (ValueError, LookupError) as error:  # an encoding that is unknown or a lie
        raise InputError(path, f"is not XML ({error})", mend) from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(path, f"is not an ELAN file (its root is <{root.tag[:40]}>)", mend)
    for header in root.findall("HEADER"):
        if (unit := header.get("TIME_UNITS", "milliseconds")) != "milliseconds":
            raise InputError(path, f"counts time in {unit[:40]!r}", "save it in milliseconds")
    return root


def checked(
    path: Path, root: ElementTree.Element, repairs: list[Repair]
) -> tuple[ElementTree.Element, list[str]]:
    """A copy of the document that pympi reads without loss, and the tiers' names in order.

    Slots, annotations and tiers are numbered afresh, since pympi keeps the last of two elements
    with one identifier and needs a number in each.
    """
    clean = ElementTree.Element(
        "ANNOTATION_DOCUMENT", {"VERSION": "3.0", f"{{{XSI}}}noNamespaceSchemaLocation": SCHEMA}
    )
    header = ElementTree.SubElement(clean, "HEADER")
    for element in root.iterfind("HEADER/*"):
        if element.tag == "MEDIA_DESCRIPTOR":
            ElementTree.SubElement(header, element.tag, dict(element.attrib))
        elif element.tag == "PROPERTY" and element.get("NAME") == SPAN:
            ElementTree.SubElement(header, "PROPERTY", {"NAME": SPAN}).text = element.text
    order = ElementTree.SubElement(clean, "TIME_ORDER")
    slots = _copy_slots(path, root, order)
    names: list[str] = []
    used: set[str] = set()
    ids: dict[str, str | None] = {}
    links: list[tuple[ElementTree.Element, str, str, str]] = []
    seen = 0
    for tier in root.iterfind("TIER"):
        name = tier.get("TIER_ID", "")
        copy = ElementTree.SubElement(
            clean, "TIER", {"TIER_ID": str(len(names)), "ANNOTATOR": tier.get("ANNOTATOR", "")}
        )
        names.append(name)
        if not name and tier.find("ANNOTATION") is not None:
            raise InputError(path, "has segments in a tier without a name", MEND)
        for annotation in tier.iterfind("ANNOTATION/*"):
            if annotation.tag not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
                continue
            seen += 1
            old, new = annotation.get("ANNOTATION_ID", ""), f"a{seen}"
            if old in ids:
                what = f"identifier {old!r} stands twice; both segments are kept"
                repairs.append(Repair("duplicate-id", name, None, what))
            ids[old] = None if old in ids else new  # None: nothing may refer to it
            link = ElementTree.Element(annotation.tag, {"ANNOTATION_ID": new})
            if annotation.tag == "REF_ANNOTATION":
                links.append((link, annotation.get("ANNOTATION_REF", ""), name, old))
            else:
                for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2"):
                    slot, what = slots.get(annotation.get(key, ""), ("", "which is not there"))
                    if what:
                        raise InputError(
                            path,
                            f"refers to time slot {annotation.get(key, '')!r}, {what}",
                            MEND,
                            where=f"tier {name!r}, segment {old!r}",
                        )
                    used.add(slot)
                    link.set(key, slot)
            values = annotation.findall("ANNOTATION_VALUE")
            text = "".join("".join(value.itertext()) for value in values)
            if len(values) > 1 or any(len(value) for value in values):
                what = f"the value of {old!r} is in parts or marked up; its text is {text[:40]!r}"
                repairs.append(Repair("value-spelling", name, None, what))
            ElementTree.SubElement(link, "ANNOTATION_VALUE").text = text
            ElementTree.SubElement(copy, "ANNOTATION").append(link)
    stray = sum(e.tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION") for e in root.iter()) - seen
    if stray:
        raise InputError(path, f"has {stray} segments outside any tier", MEND)
    for link, reference, name, old in links:
        if (target := ids.get(reference)) is None:
            what = f"refers to segment {reference!r}, which is not there or stands twice"
            raise InputError(path, what, MEND, where=f"tier {name!r}, segment {old!r}")
        link.set("ANNOTATION_REF", target)
    if unused := len(order) - len(used):
        what = f"{unused} time slots that no segment refers to are dropped"
        repairs.append(Repair("unused-slots", None, None, what))
    return clean, names


def _copy_slots(
    path: Path, root: ElementTree.Element, order: ElementTree.Element
) -> dict[str, tuple[str, str]]:
    """Copy time slots into `order`; old identifier to the new one and what is wrong with it."""
    slots: dict[str, tuple[str, str]] = {}
    times: dict[str, str] = {}
    for number, slot in enumerate(root.iterfind("TIME_ORDER/TIME_SLOT"), start=1):
        name, time = slot.get("TIME_SLOT_ID", ""), slot.get("TIME_VALUE", "").strip()
        if times.setdefault(name, time) != time:
            what = f"time slot {name!r} has two times, {times[name]!r} and {time!r}"
            raise InputError(path, what, MEND)
        usable = re.fullmatch(r"-?\d{1,10}", time, re.ASCII) is not None
        wrong = "" if usable or not time else f"whose time {time[:40]!r} is not in milliseconds"
        slots[name] = (f"ts{number}", wrong)
        attributes = {"TIME_VALUE": time} if usable else {}
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{number}", **attributes})
    return slots
