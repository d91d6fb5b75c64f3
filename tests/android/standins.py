#!/usr/bin/env python3
"""Makes stand-ins for the Android platform, to compile against where there is no Android SDK.

    standins.py API.TXT SIGNATURES.D.TS LEAST_API_LEVEL FOLDER

Every class and member in API.TXT must stand in SIGNATURES, a published list of the platform's API
(npm's @nativescript/types-android), with the same types as far as that list tells them, with the
value that constants have, and must be as old as API.TXT says. What is written has signatures alone:
methods return nothing, zero, or, where builders do, their object. A class that is `played` is only
checked.
"""

import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

NUMBERS = {"int", "long", "float", "double", "short", "byte"}


@dataclass
class Member:
    """A field (no parameters), a method or a constructor (named `new`)."""

    name: str
    parameters: tuple | None
    type: str
    static: bool
    since: int
    words: str = ""


@dataclass
class Class:
    kind: str
    name: str
    parents: str
    since: int
    played: bool = False
    members: list = field(default_factory=list)


def split(parameters):
    """Parameters at the top level of a list: commas within brackets don't count."""
    parts, depth, part = [], 0, ""
    for character in parameters:
        depth += (character in "<({") - (character in ">)}")
        if character == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    return [part.strip() for part in parts + [part] if part.strip()]


def listed(path, wanted):
    """The classes called `wanted`, as the list of signatures has them."""
    scopes, classes, since = [], {}, 0
    for line in Path(path).read_text().split("\n"):
        text = line.strip()
        depth = len(line) - len(line.lstrip("\t"))
        if found := re.search(r"@since (\d+)", text):
            since = int(found[1])
        if text.startswith(("/*", "*")) or not text:
            continue
        if found := re.match(r"(?:declare |export )?(?:abstract )?(module|class|interface) (\w[\w.]*)", text):
            scopes = scopes[:depth] + [found[2]]
            name = ".".join(scopes)
            if found[1] != "module" and name in wanted:
                parents = set(re.findall(r"[\w.]+\.\w+", text[found.end():]))
                classes[name] = (Class("", name, parents, since), depth)
            here = classes.get(name, (None, 0))
        elif scopes and text.startswith("public ") and here[0] and depth == here[1] + 1:
            here[0].members.append(member_listed(text.rstrip(";"), since))
        since = 0
    return {name: found for name, (found, _) in classes.items()}


def member_listed(text, since):
    text = text.removeprefix("public ")
    static = text.startswith("static ")
    text = text.removeprefix("static ").replace("abstract ", "")
    if found := re.match(r"(\w+)\((.*)\)(?:: (.*))?$", text):
        types = tuple(p.split(":", 1)[1].strip() for p in split(found[2]) if ":" in p)
        name = "new" if found[1] == "constructor" else found[1]
        return Member(name, types, (found[3] or "").strip(), static, since)
    name, _, kind = text.partition(":")
    return Member(name.strip(), None, kind.strip(), static, since)


def ours(path):
    """The classes of API.TXT, in order."""
    classes = []
    for number, line in enumerate(Path(path).read_text().split("\n"), 1):
        line = line.split("#")[0].rstrip()
        if not line:
            continue
        found = re.search(r" @(\d+)$", line)
        since = int(found[1]) if found else 0
        line = line[: found.start()] if found else line
        if not line.startswith(" "):
            found = re.fullmatch(r"(played )?((?:abstract )?class|interface) ([\w.]+)(.*)", line)
            assert found, f"{path}:{number}: no class"
            classes.append(Class(found[2], found[3], found[4].strip(), since, bool(found[1])))
        else:
            classes[-1].members.append(member_ours(line.strip(), since, f"{path}:{number}"))
    return classes


def member_ours(line, since, place):
    found = re.fullmatch(r"((?:(?:const|static|abstract|<T>) )*)(.*?) ?(\w+)(?:\((.*)\))?", line)
    assert found, f"{place}: no member"
    words, kind, name, parameters = found.groups()
    types = tuple(split(parameters)) if parameters is not None else None
    static = "const" in words or "static" in words
    return Member(name, types, kind or "void", static, since, words)


def same(java, other):
    """Whether a type of ours can be what the list says. It knows one kind of number."""
    other = other.split("/*")[0].replace("| null", "").strip()
    if other in ("any", "java.lang.Object"):
        return java not in NUMBERS | {"boolean", "String"}
    if java.endswith("[]"):
        found = re.fullmatch(r"androidNative\.Array<(.*)>", other)
        return bool(found) and same(java[:-2], found[1])
    plain = {"String": "string", "boolean": "boolean", "void": "void", "Class": "java.lang.Class"}
    plain |= dict.fromkeys(NUMBERS, "number")
    bare = re.sub(r"<.*>", "", java)
    return plain.get(bare, bare) == re.sub(r"<.*>", "", other)


def value(kind):
    """The value of a constant, which is its type in the list."""
    return kind if re.fullmatch(r'-?[\d.]+|".*"', kind) else None


def matching(member, members):
    for other in members:
        if (other.name, other.static) != (member.name, member.static):
            continue
        if member.parameters is None and other.parameters is None:
            literal = value(other.type)
            is_text = literal is not None and literal.startswith('"')
            if "const" in member.words:
                if literal is not None and is_text == (member.type == "String"):
                    return other
            elif same(member.type, other.type):
                return other
        elif member.parameters is not None and other.parameters is not None:
            fits = len(member.parameters) == len(other.parameters) and all(
                map(same, member.parameters, other.parameters)
            )
            if fits and (member.name == "new" or same(member.type, other.type)):
                return other
    return None


def check(classes, found, least):
    """What is wrong with our list; and the list's twin of each member."""
    wrong, twins = [], {}
    for ours_ in classes:
        theirs = found.get(ours_.name)
        if theirs is None:
            wrong.append(f"there is no {ours_.name}")
            continue
        if ours_.since != (theirs.since if theirs.since > least else 0):
            wrong.append(f"{ours_.name} is there since API level {theirs.since}")
        for parent in re.findall(r"[\w.]+\.\w+", ours_.parents):
            if parent not in theirs.parents:
                wrong.append(f"{ours_.name} is no {parent}")
        for member in ours_.members:
            twin = matching(member, theirs.members)
            if twin is None:
                wrong.append(f"{ours_.name} has no such {member.name}")
                continue
            since = max(twin.since, theirs.since)
            if member.since != (since if since > least else 0) and ours_.kind != "interface":
                wrong.append(f"{ours_.name}.{member.name} is there since API level {since}")
            twins[id(member)] = twin
    return wrong, twins


def java_member(member, twin, owner):
    if member.parameters is None:
        literal = value(twin.type) if "const" in member.words else None
        if literal is not None:
            return f"public static final {member.type} {member.name} = {literal};"
        return f"public {'static ' if member.static else ''}{member.type} {member.name};"
    parameters = ", ".join(
        f"{kind[:-2] + '...' if kind.endswith('[]') else kind} p{n}"
        for n, kind in enumerate(member.parameters)
    )
    if member.name == "new":
        return f"public {owner.name.split('.')[-1]}({parameters}) {{}}"
    head = f"public {member.words}{member.type} {member.name}({parameters})"
    if "abstract" in member.words or owner.kind == "interface":
        return f"{head};"
    if member.type == owner.name:
        builds = owner.name.endswith("Builder")
        return f"{head} {{ return {'this' if builds else 'null'}; }}"
    zero = {"void": "", "boolean": " return false;"}
    zero |= dict.fromkeys(NUMBERS, " return 0;")
    return f"{head} {{{zero.get(member.type, ' return null;')} }}"


def java_class(owner, inner, twins, indent=""):
    static = "static " if indent else ""
    simple = owner.name.split(".")[-1]
    lines = [f"{indent}public {static}{owner.kind} {simple} {owner.parents} {{"]
    lines += [f"{indent}    {java_member(m, twins[id(m)], owner)}" for m in owner.members]
    for nested in inner.get(owner.name, []):
        lines += java_class(nested, inner, twins, indent + "    ")
    return lines + [indent + "}"]


def write(classes, twins, folder):
    inner = defaultdict(list)
    for one in classes:
        if not one.played:
            inner[one.name.rpartition(".")[0]].append(one)
    for package, outer in inner.items():
        if any(part[:1].isupper() for part in package.split(".")):
            continue
        for one in outer:
            path = Path(folder, *one.name.split(".")).with_suffix(".java")
            path.parent.mkdir(parents=True, exist_ok=True)
            text = [f"package {package};", "", *java_class(one, inner, twins), ""]
            path.write_text("\n".join(text))


def main():
    api, signatures, least, folder = sys.argv[1:]
    classes = ours(api)
    found = listed(signatures, {one.name for one in classes})
    wrong, twins = check(classes, found, int(least))
    if wrong:
        sys.exit("\n".join(f"{api}: {line}" for line in wrong))
    write(classes, twins, folder)
    members = sum(len(one.members) for one in classes)
    print(f"{len(classes)} classes and {members} members are as the platform has them")


if __name__ == "__main__":
    main()
