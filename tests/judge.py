"""The verdict of the probe on what `pk.trace` found: is everything tied that must be, and nothing else?"""

from collections.abc import Iterable, Mapping

from probe import OUTPUT, Found, Place


def complaints(
    found: Found, units: Mapping[Place, int], frozen: Mapping[int, str], excused: Iterable[str]
) -> list[str]:
    """What is wrong with a partition of the filters into units, of which some are frozen; nothing if all is right.

    `units` has the unit of each filter, `frozen` the reason of each unit that cannot go; reasons that contain one of
    `excused` need not be seen by the probe. What must hold:

    * A filter that can go does not reach the output, and whoever arrives at the same place goes with it, unless that is
      one map spread over many, which stays.
    * Nothing goes together that need not: the filters of a unit hang together by places at which they meet, or by
      being counted together where an operation needs parts of equal size. (Not judged where maps are padded around.)
    * A filter that cannot go has a cause: it, or one that must go with it, reaches the output, meets an input, is
      mixed with another map of its own layer, or is spread over many; or a whole layer would go with it, or
      all that an operation deals out in groups.
    """
    wrong = []
    arrivals = found.arrivals()
    members: dict[int, set[Place]] = {}
    for giver, unit in units.items():
        members.setdefault(unit, set()).add(giver)
    for giver, unit in units.items():
        if unit in frozen:
            continue
        if OUTPUT in found.places[giver]:
            wrong.append(f"{giver} reaches the output and is not frozen")
        for place in found.places[giver]:
            for other in arrivals[place] - members[unit]:
                pinned = other in found.inputs or units[other] in frozen
                if not (pinned and other in found.spread):
                    wrong.append(f"{giver} and {other} arrive at {place} and are not one unit")
    for unit, givers in members.items():
        if unit not in frozen and not found.around and not hang_together(givers, found):
            wrong.append(f"{sorted(givers)} are one unit, though not all of them meet")
        if unit in frozen and not any(reason in frozen[unit] for reason in excused):
            reached = spreading(givers, found, arrivals)
            pinned = any(pins(giver, found, arrivals) for giver in reached)
            whole = whole_layer(givers, units) and hang_together(givers, found)
            if not pinned and not whole and not whole_layer(reached, units) and not all_counted(reached, found):
                wrong.append(f"{sorted(givers)} are frozen without a cause: {frozen[unit]}")
    return wrong


def spreading(givers: set[Place], found: Found, arrivals: Mapping[Place, set[Place]]) -> set[Place]:
    """All that must go with `givers`, as far as they meet; a map that is spread over many is met by none."""
    reached, todo = set(givers), list(givers)
    counted: dict[Place, set[Place]] = {}
    for group in found.counted.values():
        for giver in group:
            counted.setdefault(giver, set()).update(group)
    while todo:
        giver = todo.pop()
        met = counted.get(giver, set()).union(*(arrivals[place] for place in found.places[giver] - {OUTPUT}))
        new = {other for other in met - reached if other not in found.spread}
        reached |= new
        todo += new
    return reached


def pins(giver: Place, found: Found, arrivals: Mapping[Place, set[Place]]) -> bool:
    """Whether the probe saw a cause why this filter cannot go."""
    if giver in found.inputs or giver in found.spread or OUTPUT in found.places[giver]:
        return True
    others = {other for place in found.places[giver] for other in arrivals[place]} - {giver}
    return any(other[0] == giver[0] for other in others)


def whole_layer(givers: set[Place], units: Mapping[Place, int]) -> bool:
    """Whether these filters are all that some layer has."""
    return any({giver for giver in units if giver[0] == weight} <= givers for weight in {w for w, _ in givers})


def all_counted(givers: set[Place], found: Found) -> bool:
    """Whether these filters make all the maps that some operation counts by groups."""
    operations: dict[str, set[Place]] = {}
    for (operation, _), group in found.counted.items():
        operations.setdefault(operation, set()).update(group)
    return any(group <= givers for group in operations.values())


def hang_together(givers: set[Place], found: Found) -> bool:
    """Whether the filters can be reached from one another by places that two of them share."""
    groups = [found.places[giver] | {giver} for giver in givers]
    groups += [group & givers for group in (*found.counted.values(), *found.parts.values()) if len(group & givers) > 1]
    union = set(groups.pop(0))
    while touching := [group for group in groups if group & union]:
        union = union.union(*touching)
        groups = [group for group in groups if not group <= union]
    return givers <= union
