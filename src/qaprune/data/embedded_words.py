"""Words of the embedded corpus: kinds of entity, the events that happen to them, and filler.

An event is a cluster of verbs that mean the same in this little world (past tense and participle are the
same form, so that one list serves active and passive) and of nouns for the same happening. No word belongs
to two clusters: a model has to learn which words belong together, and only then can it match a question
with the sentence that answers it.
"""

from typing import NamedTuple


class Event(NamedTuple):
    """What can happen to an entity: interchangeable verbs, nouns, and whether a sum of money belongs to it."""

    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    priced: bool = False


class Kind(NamedTuple):
    """A sort of entity: name pattern, common nouns, its events, and what it can have a number of."""

    pattern: str
    nouns: tuple[str, ...]
    events: tuple[str, ...]
    counts: tuple[str, ...]
    pronouns: tuple[tuple[str, str, str], ...] = (("it", "it", "its"),)


EVENTS: dict[str, Event] = {
    "found": Event(("founded", "established", "instituted", "initiated"), ("founding", "establishment")),
    "build": Event(("built", "constructed", "erected", "assembled"), ("construction", "assembly"), True),
    "design": Event(("designed", "planned", "sketched", "drafted"), ("design", "drafting")),
    "fund": Event(("funded", "financed", "bankrolled", "subsidised"), ("funding", "financing"), True),
    "open": Event(("opened", "inaugurated", "unveiled"), ("opening", "inauguration")),
    "close": Event(("closed", "dissolved", "shuttered"), ("closure", "dissolution")),
    "restore": Event(("restored", "renovated", "repaired", "refurbished"), ("restoration", "repair"), True),
    "damage": Event(("damaged", "wrecked", "vandalised", "defaced"), ("wrecking", "defacing")),
    "enlarge": Event(("enlarged", "expanded", "extended"), ("enlargement", "expansion"), True),
    "buy": Event(("bought", "purchased", "acquired"), ("purchase", "acquisition"), True),
    "rename": Event(("renamed", "rechristened", "relabelled"), ("renaming", "rechristening")),
    "inspect": Event(("inspected", "surveyed", "examined", "audited"), ("inspection", "survey")),
    "move": Event(("moved", "relocated", "transferred", "shifted"), ("move", "relocation")),
    "sue": Event(("sued", "prosecuted", "indicted"), ("lawsuit", "prosecution")),
    "praise": Event(("praised", "applauded", "acclaimed", "commended"), ("praise", "applause")),
    "publish": Event(("published", "printed", "issued"), ("publication", "printing")),
    "translate": Event(("translated", "reworded", "adapted"), ("translation", "adaptation"), True),
    "ban": Event(("banned", "outlawed", "prohibited", "censored"), ("ban", "prohibition")),
    "loot": Event(("looted", "pilfered", "robbed", "plundered"), ("theft", "robbery")),
    "copy": Event(("copied", "imitated", "forged", "replicated"), ("imitation", "forgery"), True),
    "show": Event(("exhibited", "displayed", "showcased"), ("exhibition", "display")),
    "invent": Event(("invented", "devised", "conceived"), ("invention", "devising")),
    "test": Event(("tested", "probed", "trialled"), ("test", "trial")),
    "patent": Event(("patented", "registered", "licensed"), ("registration", "licensing"), True),
    "train": Event(("trained", "taught", "tutored", "schooled"), ("training", "schooling")),
    "hire": Event(("hired", "employed", "recruited", "engaged"), ("hiring", "recruitment"), True),
    "honour": Event(("honoured", "decorated", "knighted"), ("honouring", "knighting")),
    "arrest": Event(("arrested", "detained", "jailed", "imprisoned"), ("arrest", "detention")),
    "elect": Event(("elected", "nominated"), ("election", "nomination")),
    "portray": Event(("portrayed", "painted", "depicted"), ("portrayal", "painting"), True),
    "bury": Event(("buried", "interred", "entombed"), ("burial", "interment")),
    "rescue": Event(("rescued", "saved", "freed"), ("rescue", "liberation")),
}

BUILDING = ("build", "design", "fund", "open", "restore", "damage", "enlarge", "buy", "inspect", "rename")
GROUP = ("found", "fund", "close", "buy", "move", "sue", "praise", "rename", "enlarge", "ban")
WORK = ("publish", "translate", "ban", "loot", "copy", "show", "praise", "fund", "buy", "restore")
MACHINE = ("invent", "test", "patent", "build", "copy", "show", "fund", "buy", "damage", "move")
PERSON = ("train", "hire", "honour", "arrest", "elect", "portray", "bury", "rescue", "praise", "sue")
HE_SHE = (("he", "him", "his"), ("she", "her", "her"))

KINDS: tuple[Kind, ...] = (
    Kind("the {} Bridge", ("bridge", "crossing"), BUILDING, ("arches", "lamps", "pillars")),
    Kind("the {} Museum", ("museum", "gallery"), BUILDING, ("rooms", "guards", "windows")),
    Kind("the {} Lighthouse", ("lighthouse", "tower"), BUILDING, ("steps", "lamps", "windows")),
    Kind("the {} Theatre", ("theatre", "playhouse"), BUILDING, ("seats", "balconies", "rooms")),
    Kind("{} Hall", ("hall", "mansion"), BUILDING, ("rooms", "chimneys", "statues")),
    Kind("{} Works", ("company", "firm"), GROUP, ("workers", "branches", "warehouses")),
    Kind("the {} Festival", ("festival", "fair"), GROUP, ("visitors", "stages", "helpers")),
    Kind("the {} Gazette", ("newspaper", "daily"), GROUP, ("readers", "writers", "branches")),
    Kind("the {} Society", ("society", "club"), GROUP, ("members", "helpers", "branches")),
    Kind("the {} Codex", ("book", "manuscript"), WORK, ("pages", "chapters", "drawings")),
    Kind("the {} Cycle", ("collection", "series"), WORK, ("poems", "drawings", "chapters")),
    Kind("the {} Engine", ("engine", "machine"), MACHINE, ("wheels", "valves", "gears")),
    Kind("the {} Glider", ("aircraft", "craft"), MACHINE, ("wheels", "seats", "gears")),
    Kind("{} {}", ("painter", "artist"), PERSON, ("pupils", "drawings", "children"), HE_SHE),
    Kind("{} {}", ("general", "officer"), PERSON, ("medals", "horses", "children"), HE_SHE),
    Kind("{} {}", ("botanist", "scientist"), PERSON, ("pupils", "gardens", "medals"), HE_SHE),
)

ADJECTIVES = (
    "well known", "famous", "small", "remarkable", "curious", "respected", "modest", "celebrated", "little known",
)  # fmt: skip

GROUP_NAMES = ("the {} Guild", "the {} Council", "the {} Bank", "the {} Brothers", "the {} Trust")

CURRENCIES = ("crowns", "marks", "florins", "ducats")

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

# Sentences that answer no question. {s} is the entity, {poss} its possessive, {person}, {place}, {time} and
# {other} are names that occur nowhere else in the passage.
FILLERS: tuple[str, ...] = (
    "few records of {poss} early years survive",
    "local people still speak of {o} with pride",
    "{person} , a poet from {place} , once wrote a song about {o}",
    "{other} is often mistaken for {o}",
    "a street in {place} bears the same name",
    "much of what was said about {o} before {time} has proved false",
    "{person} later called {o} a wonder of the age",
    "children in {place} learn about {o} at school",
    "unlike {other} , {s} rarely appears in guidebooks",
    "a stamp showing {o} was sold in {time}",
)

# Syllables of the invented names: onset, vowel, middle, vowel, coda; 48,000 words.
ONSETS = (
    "b", "br", "c", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kr", "l", "m", "n", "p", "pl", "qu",
    "r", "s", "sk", "st", "t", "tr", "v", "w", "y", "z", "sh",
)  # fmt: skip
VOWELS = ("a", "e", "i", "o", "u")
MIDDLES = ("b", "d", "k", "l", "m", "n", "v", "z")
CODAS = ("l", "n", "r", "s", "th", "m", "k", "x")
