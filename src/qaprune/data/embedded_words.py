"""Words of the embedded corpus: kinds of entity, the events that happen to them, and filler.

An event has verbs (past tense and participle are the same form) and nouns that share no stem with them:
passages and questions use any, so a model has to learn which words mean the same happening.
"""

from typing import NamedTuple


class Event(NamedTuple):
    """What can happen to an entity: verbs, nouns, and whether a sum of money belongs to it."""

    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    priced: bool = False


class Kind(NamedTuple):
    """A sort of entity: name pattern, common nouns, and what it can have a number of."""

    pattern: str
    nouns: tuple[str, ...]
    counts: tuple[str, ...]


# In the order of a life story. Passages tell their events in this order, as histories do, and learning
# depends on it: where in the passage an answer stands is the first hint of which event a question means.
# With events in random order a small encoder stayed for minutes at guessing by answer type.
EVENTS: dict[str, Event] = {
    "design": Event(("planned", "devised"), ("design", "layout")),
    "fund": Event(("financed", "sponsored"), ("funding", "endowment"), True),
    "open": Event(("opened", "unveiled"), ("inauguration", "launch")),
    "buy": Event(("bought", "acquired"), ("purchase", "takeover"), True),
    "restore": Event(("repaired", "rebuilt"), ("restoration", "renovation"), True),
}

KINDS: tuple[Kind, ...] = (
    Kind("the {} Bridge", ("bridge", "crossing"), ("arches", "lamps", "pillars")),
    Kind("the {} Museum", ("museum", "gallery"), ("rooms", "guards", "windows")),
    Kind("the {} Lighthouse", ("lighthouse", "tower"), ("steps", "lamps", "windows")),
    Kind("the {} Theatre", ("theatre", "playhouse"), ("seats", "balconies", "rooms")),
    Kind("{} Hall", ("hall", "mansion"), ("rooms", "chimneys", "statues")),
    Kind("{} Works", ("factory", "plant"), ("workers", "furnaces", "chimneys")),
    Kind("the {} Garden", ("garden", "park"), ("fountains", "benches", "statues")),
    Kind("the {} Engine", ("engine", "machine"), ("wheels", "valves", "gears")),
    Kind("the {} Glider", ("aircraft", "craft"), ("wheels", "seats", "gears")),
    Kind("the {} Clipper", ("ship", "vessel"), ("sails", "cabins", "lamps")),
    Kind("the {} Organ", ("organ", "instrument"), ("pipes", "pedals", "valves")),
    Kind("the {} Railway", ("railway", "line"), ("stations", "tunnels", "workers")),
)

ADJECTIVES = ("well known", "famous", "small", "remarkable", "curious", "respected", "modest", "celebrated")

ROLES = ("keeper", "owner", "patron")

TITLES = ("Lady", "Captain", "Doctor", "Bishop", "Baron")

PLACE_NAMES = ("{} Bay", "{} Valley", "{} Moor", "{} Island")

GROUP_NAMES = ("the {} Guild", "the {} Council", "the {} Bank", "the {} Trust")

CURRENCIES = ("crowns", "marks", "florins", "ducats")

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

# Clauses that answer no question. {person} and {place} occur nowhere else in the passage; {other} is
# another entity of the same kind, which unanswerable questions may ask about.
FILLERS: tuple[str, ...] = (
    "few records of its early years survive",
    "local people still speak of it with pride",
    "{other} is often mistaken for it",
    "unlike {other} , it rarely appears in guidebooks",
    "children still learn about it at school",
    "an old song calls it a wonder of the age",
    "much of what was said about it has proved false",
    "{person} once wrote a song about it",
    "a street near {place} bears the same name",
)

# Invented names: a first and a second syllable from two lists, which every tokenizer can learn as pieces.
FIRST_ONSETS = (
    "b", "br", "c", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kr", "l", "m", "n", "p", "pl", "qu",
    "r", "s", "sh", "sk", "st", "t", "tr", "v", "w", "y", "z",
)  # fmt: skip
SECOND_ONSETS = ("b", "d", "g", "k", "l", "m", "n", "t", "v", "z")
VOWELS = ("a", "e", "i", "o", "u")
FIRST_CODAS = ("l", "m", "n", "r", "s")
SECOND_CODAS = ("k", "l", "m", "n", "r", "s", "th", "x")
SYLLABLES = 120
