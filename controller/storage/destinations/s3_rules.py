"""What the lifecycle rules of a bucket do to copies, so that nobody is surprised by them; pure.

See docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html. The document is read here and not by the
library, which takes a rule for one of the whole bucket where its filter has no form that it knows.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, fromstring

UNREADABLE = {"GLACIER", "DEEP_ARCHIVE"}
"""Classes of storage from which nothing can be read at once."""


def complaints(document: str, prefix: str, *, keeps_versions: bool) -> list[str]:
    """About the rules of a bucket in which copies lie below a prefix; `document` is empty where there are none."""
    # The library reads each answer likewise; expat bounds what entities may grow to.
    root = fromstring(document) if document else Element("LifecycleConfiguration")  # noqa: S314
    rules = list(rules_for(root, prefix))
    wrong = [why for rule in rules for why in harm(rule)]
    if keeps_versions and not any(rule.find("NoncurrentVersionExpiration") is not None for rule in rules):
        wrong.append("no lifecycle rule removes versions that are not current: what is deleted there stays for ever")
    return wrong


def rules_for(root: Element, prefix: str) -> Iterator[Element]:
    """Those that hold for an object below the prefix; ours have no tags."""
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]
    for rule in root.iter("Rule"):
        named = next((each.text or "" for each in rule.iter("Prefix")), "")
        is_ours = prefix.startswith(named) or named.startswith(prefix)
        if is_ours and rule.findtext("Status") == "Enabled" and not any(True for _ in rule.iter("Tag")):
            yield rule


def harm(rule: Element) -> Iterator[str]:
    name = f"the lifecycle rule {rule.findtext('ID') or 'without a name'}"
    for expiration in rule.iter("Expiration"):
        if when := after(expiration):
            yield f"{name} deletes copies {when}: also what later copies need"
    for transition in rule.iter("Transition"):
        if (to := transition.findtext("StorageClass")) in UNREADABLE:
            yield f"{name} moves copies to {to} {after(transition)}: they cannot be read there"


def after(action: Element) -> str:
    """When it happens; empty for an expiration that only clears away delete markers."""
    days, date = action.findtext("Days"), action.findtext("Date")
    return f"after {days} days" if days else f"on {date}" if date else ""
