#!/usr/bin/env python3
"""A second verifier of audit logs and bundles, written from docs/audit-format.md alone and sharing no code with the first.

    verify.py AUDIT-FOLDER [--entries-only] [--key KEY]… [CHECKPOINT…]
    verify.py BUNDLE [--key KEY]…

Of a log: follows the chain, works out the tree, holds it against the checkpoints beside the log and those that are given, and looks at the
plans, policies and transcripts that entries name, in the folder `runs` beside that of the log (not with --entries-only). Of a bundle:
the proof from its entries to its checkpoint, the signatures of the log's key, and every file that the entries name. Signatures are checked
with openssl. Where entries were archived, begins with what stands for
them. Says what it finds, and exits with 0 or 11. It does not judge torn tails, what events can follow on each other, nor what
people have signed.
"""
import base64, hashlib, json, os, re, subprocess, sys, tempfile

def sha(data):
    return hashlib.sha256(data).digest()

def root(leaves):
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = half(len(leaves))
    return sha(b"\x01" + root(leaves[:k]) + root(leaves[k:]))

def half(size):
    k = 1
    while k * 2 < size:
        k *= 2
    return k

def unbase(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not base64")
    return data

def signed_by(key, text, signature):
    with tempfile.TemporaryDirectory() as folder:
        def put(name, data):
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(data)
            return path
        der = bytes.fromhex("302a300506032b6570032100") + key
        command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER",
                   "-inkey", put("key", der), "-in", put("text", text), "-sigfile", put("signature", signature)]
        return subprocess.run(command, capture_output=True).returncode == 0

def key_of(text):
    name, fingerprint, encoded = text.strip().split("+", 2)
    key = unbase(encoded)
    known = sha(name.encode() + b"\n" + key)[:4]
    if key[0] != 1 or len(key) != 33 or known.hex() != fingerprint:
        raise ValueError("not a key")
    return name, known, key[1:]

def keys_of(texts):
    keys = []
    for text in texts:
        try:
            keys.append(key_of(text))
        except ValueError:
            pass
    return keys

def checkpoint_of(note):
    """The log, the size and the root that a checkpoint claims."""
    text, _, signatures = note.partition("\n\n")
    origin, size, tree = text.split("\n")
    return origin, int(size), unbase(tree), text + "\n", signatures

def is_signed(note, keys):
    origin, _, _, text, signatures = checkpoint_of(note)
    believed = False
    for line in signatures.splitlines():
        name, signature = re.fullmatch("\u2014 (\\S+) (\\S+)", line).groups()
        signature = unbase(signature)
        for known in keys:
            if name == known[0] and signature[:4] == known[1]:
                if name != origin or not signed_by(known[2], text.encode(), signature[4:]):
                    return False
                believed = True
    return believed

def pae(kind, payload):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)

def follow(keys, entry, known, findings):
    """Takes in what an entry says of the log's key. `keys` are [key, the entry that replaced it, whether the one before has signed it]."""
    seq, data = entry["seq"], entry["data"]
    try:
        if entry["event"] == "log_created" and "key" in data:
            keys.append([key_of(data["key"]), None, False])
        elif entry["event"] == "log_key_replaced":
            old, new = key_of(data["old"]), key_of(data["new"])
            keys = keys if keys else keys.append([old, None, False]) or keys
            signed = "signature" in data
            if old != keys[-1][0] or old == new or old[0] != new[0] or signed and not signed_by(
                    old[2], pae("urn:interlock:log-key:v1", data["new"].encode()), unbase(data["signature"])):
                findings.append(f"entry {seq}: no such key was replaced")
                return
            if not signed and new not in known:
                findings.append(f"entry {seq}: the old key was lost, and nobody says that the new one is the log's")
            keys[-1][1] = seq
            keys.append([new, None, signed])
    except ValueError:
        findings.append(f"entry {seq}: not a key")

def led_to(keys, known):
    """The keys that are known, and those that one of them leads to."""
    led, before = [], False
    for key, _, vouched in keys:
        before = key in known or (before and vouched)
        led += [key] if before else []
    return led

# What stands for archived entries.

def push(parts, size, added):
    """Adds a whole part at the right edge of a tree: `parts` are [its leaves, its root]."""
    while parts and parts[-1][0] == size:
        added, size = sha(b"\x01" + parts.pop()[1] + added), size * 2
    parts.append([size, added])

def top(parts):
    """The root of a tree by its right edge."""
    *rest, (_, right) = parts
    for _, left in reversed(rest):
        right = sha(b"\x01" + left + right)
    return right

def base_of(folder):
    """What stands for archived entries, the parts of their tree, the entries that are in it, and the digest of the file."""
    path = os.path.join(folder, "archived")
    if not os.path.lexists(path):
        return None
    if os.path.islink(path):
        raise ValueError("a link")
    data = open(path, "rb").read()
    base = json.loads(data)
    count, edge = base["entries"], [unbase(part) for part in base["edge"]]
    sizes = [1 << bit for bit in range(63, -1, -1) if count & 1 << bit]
    if set(base) != {"version", "log", "entries", "last", "time", "edge", "checkpoint", "lines", "proof", "policies", "unlocked", "archive"} \
            or base["version"] != 1 or count < 1 or len(edge) != len(sizes) or not re.fullmatch("[0-9a-f]{64}", base["last"]):
        raise ValueError("not of its form")
    parts = [list(part) for part in zip(sizes, edge)]
    if checkpoint_of(base["checkpoint"])[1:3] != (count, top(parts)):
        raise ValueError("its checkpoint is of other entries")
    entries = [json.loads(line) for line in base["lines"]]
    names = [(entry["seq"] == 1, entry["event"]) for entry in entries]
    if names[:1] != [(True, "log_created")] or set(names[1:]) - {(False, "log_key_replaced")} or entries[0]["data"]["log"] != base["log"]:
        raise ValueError("it has not the lines that it must have")
    leaves = [(entry["seq"] - 1, sha(b"\x00" + line.encode())) for entry, line in zip(entries, base["lines"])]
    proof, low = [unbase(one) for one in base["proof"]], 0
    for size, part in parts:
        if leaves and leaves[0][0] < low + size and climb(low, low + size, leaves, proof) != part:
            raise ValueError("its lines are not in the tree")
        low += size
    if leaves or proof:
        raise ValueError("its lines are not in the tree")
    return base, parts, entries, hashlib.sha256(data).hexdigest()

# A log.

def log(folder, given, known, entries_only):
    findings, leaves, keys, known = [], [], [], keys_of(known)
    previous, archived, parts, beside_base, recorded = "0" * 64, 0, [], None, None
    try:
        found = base_of(folder)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        findings.append(f"what stands for archived entries cannot be believed: {error}")
        found = None
    if found:
        base, parts, entries, digest = found
        previous, archived, beside_base = base["last"], base["entries"], base["checkpoint"]
        for entry in entries:
            follow(keys, entry, known, findings)
    segments = sorted(name for name in os.listdir(folder) if re.fullmatch(r"\d{16,}\.jsonl", name) and int(name[:-6]) > archived)
    for segment in segments:
        with open(os.path.join(folder, segment), "rb") as file:
            lines = [line for line in file.read().split(b"\n") if line]
        for line in lines:
            number = archived + len(leaves) + 1
            try:
                entry = json.loads(line)
                entry["seq"], entry["prev"], entry["event"], entry["data"]
            except (ValueError, KeyError, TypeError):
                findings.append(f"entry {number} cannot be read")
                continue
            if entry["seq"] != number:
                findings.append(f"entry {entry['seq']} stands where {number} belongs")
            if entry["prev"] != previous:
                findings.append(f"the link to entry {number - 1} is broken")
            previous = hashlib.sha256(line).hexdigest()
            leaves.append(sha(b"\x00" + line))
            try:
                follow(keys, entry, known, findings)
                if entry["event"] == "entries_archived" and entry["data"]["entries"] == archived:
                    recorded = recorded or entry["data"]["base"]
                if entry["event"] in ("run_opened", "run_resumed", "step_ended") and not entries_only:
                    look_at_files(os.path.join(folder, "..", "runs", entry["run"]), entry, findings)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                findings.append(f"entry {number} does not say what it must")
    if found and recorded not in (None, digest):
        findings.append("what stands for archived entries is not what the entry says")
    public = os.path.join(folder, "..", "keys", "log.pub")
    public = keys_of([open(public).read()]) if os.path.exists(public) else []
    last = [keys[-1][0]] if keys else public
    if known and last and last[0] not in known + led_to(keys, known):
        findings.append("no key that was given is that of the log, or leads to it")
    all_keys = [key for key, _, _ in keys] + known + public
    beside = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if re.fullmatch(r"\d{16,}\.checkpoint", name)]
    for path in beside + given + ([os.path.join(folder, "archived")] if found else []):
        if os.path.islink(path) or not os.path.isfile(path):
            findings.append(f"{path}: not a file")
            continue
        if os.path.getsize(path) == 0 and path in beside:
            continue
        try:
            note = beside_base if os.path.basename(path) == "archived" else open(path, encoding="utf-8").read()
            _, size, tree, _, _ = checkpoint_of(note)
            believed = is_signed(note, [key for key in all_keys if not any(key == one and until and until <= size
                                                                           for one, until, _ in keys)])
        except (ValueError, AttributeError):
            findings.append(f"{path}: not a checkpoint")
            continue
        if not believed:
            findings.append(f"{path}: not signed by a key of this log")
        elif size > archived + len(leaves):
            findings.append(f"{path}: {size} entries then, and {archived + len(leaves)} can be read now")
        elif size < archived:
            findings += [f"{path}: it speaks of archived entries"] if path in given else []
        elif root_at(size - archived, parts, leaves) != tree:
            findings.append(f"{path}: entries 1 to {size} are others than then")
    return findings, f"{archived + len(leaves)} entries, head {previous}"

def root_at(count, parts, leaves):
    """The root of a tree with this edge and so many more leaves."""
    parts = [list(part) for part in parts]
    for one in leaves[:count]:
        push(parts, 1, one)
    return top(parts) if parts else root([])

# A bundle.

def header(name, size):
    fields = [(name.encode(), 100), (b"0000600", 8), (b"0000000", 8), (b"0000000", 8), (b"%011o" % size, 12),
              (b"00000000000", 12), (b" " * 8, 8), (b"0", 1), (b"", 100), (b"ustar\x0000", 8), (b"", 64),
              (b"0000000", 8), (b"0000000", 8), (b"", 167)]
    block = b"".join(value.ljust(width, b"\x00") for value, width in fields)
    return block[:148] + b"%06o\x00 " % sum(block) + block[156:]

def members(data):
    found, at = [], 0
    while data[at:at + 512].strip(b"\x00"):
        block = data[at:at + 512]
        name = block[:100].split(b"\x00")[0].decode("ascii")
        size = int(block[124:135], 8)
        if block != header(name, size) or any(name == other for other, _ in found):
            raise ValueError(f"{name}: not as a bundle holds it, or there twice")
        at += 512
        content = data[at:at + size]
        padded = -(-size // 512) * 512
        if len(data) < at + padded or data[at + size:at + padded].strip(b"\x00"):
            raise ValueError(f"{name}: not all of it is there, or more")
        found.append((name, content))
        at += padded
    if data[at:] != bytes(1024):
        raise ValueError("it does not end as a bundle does")
    names = [name for name, _ in found]
    first = ["manifest.json", "manifest.dsse.json", "checkpoint", "entries.jsonl", "proof", "plan.yaml"]
    rest = names[5:] if names[5:6] != ["plan.yaml"] else names[6:]
    kinds = [r"requests/[0-9a-f]{64}\.request\.yaml", r"policies/[0-9a-f]{64}\.(policy\.yaml|allowed_signers|revoked)",
             r"reviews/[0-9a-f]{64}\.review\.yaml", r"transcripts/[a-z0-9_-][a-z0-9_.-]*\.cast(\.redacted)?"]
    order = [[at for at, kind in enumerate(kinds) if re.fullmatch(kind, name)] for name in rest]
    if names[:5] != first[:5] or [] in order or [x for x in zip(order, rest)] != sorted(zip(order, rest)):
        raise ValueError("it has not the files of a bundle in their order")
    return found

def climb(low, high, leaves, proof):
    """The root of a part of the tree: of one without any of the leaves, the next hash of the proof is it."""
    if not leaves or leaves[0][0] >= high:
        return proof.pop(0)
    if high - low <= 1:
        return leaves.pop(0)[1]
    middle = low + half(high - low)
    left = climb(low, middle, leaves, proof)
    return sha(b"\x01" + left + climb(middle, high, leaves, proof))

def look_at_files(folder, entry, findings):
    """Looks at the files of a run that an entry names."""
    for name, what in named(entry, entry["run"]):
        path = os.path.join(folder, name.removeprefix("transcripts/"))
        if os.path.islink(path) or not os.path.isfile(path):
            findings.append(f"{name} of run {entry['run']} is not there")
        elif not is_what(open(path, "rb").read(), what):
            findings.append(f"{name} of run {entry['run']} is another")

def is_what(content, what):
    """Whether a file is what an entry says of it."""
    if isinstance(what, str):
        return hashlib.sha256(content).hexdigest() == what
    if "trouble" in what:
        return True
    try:
        digest, length = output_of(content)
    except (ValueError, KeyError, TypeError):
        return False
    left_out = what.get("left_out", 0)
    return length + left_out == what["bytes"] and (left_out > 0 or digest == what["digest"])

def output_of(transcript):
    """The digest over the salt and the output of a transcript, and how many bytes it has."""
    lines = transcript.split(b"\n")
    if lines.pop() != b"":
        raise ValueError("the last line has no end")
    output = b""
    for line in lines[1:]:
        _, kind, text = json.loads(line)
        if kind == "o":
            output += b"".join(bytes([ord(c) - 0x10F700]) if 0x10F780 <= ord(c) <= 0x10F7FF else c.encode() for c in text)
        elif kind != "m":
            raise ValueError("a line is no output")
    salt = bytes.fromhex(json.loads(lines[0])["interlock"]["salt"])
    return hashlib.sha256(salt + output).hexdigest(), len(output)

def named(entry, run):
    """The files that an entry names, each with the digest of its bytes, or what is recorded of a step's output."""
    event, data = entry["event"], entry["data"]
    policies = data.get("policies", []) if event in ("run_opened", "run_resumed") else []
    found = [(f"policies/{policy['digest']}.policy.yaml", policy["digest"]) for policy in policies]
    for one in policies + (data["under"] if event == "approval_accepted" else []):
        found.append((f"policies/{one['signers']}.allowed_signers", one["signers"]))
        if "revoked" in one:
            found.append((f"policies/{one['revoked']}.revoked", one["revoked"]))
    if event == "run_opened":
        found.append(("plan.yaml", data["plan"]))
    if event == "approval_accepted" and data["namespace"] == "interlock-override@v1":
        found.append((f"requests/{data['document']}.request.yaml", data["document"]))
    if event == "approval_accepted" and data["namespace"] == "interlock-review@v1":
        found.append((f"reviews/{data['document']}.review.yaml", data["document"]))
    if event == "override_accepted" and "request" in data:
        found.append((f"requests/{data['request']}.request.yaml", data["request"]))
    if event == "step_ended" and "output" in data:
        name = re.fullmatch(f"runs/{run}/([^/]+)", data["output"]["transcript"]).group(1)
        found.append((f"transcripts/{name}", data["output"]))
        if "redacted" in data["output"]:
            found.append((f"transcripts/{name}.redacted", data["output"]["redacted"]["digest"]))
    return found

STANDS = {"run_opened": "open", "run_resumed": "open", "run_halted": "halted", "run_completed": "completed",
          "run_undone": "undone", "run_abandoned": "abandoned", "run_refused": "refused"}

def bundle(path, known):
    findings = []
    with open(path, "rb") as file:
        found = members(file.read())
    files = dict(found)
    manifest = json.loads(files["manifest.json"])
    said = manifest["predicate"]
    if (manifest["_type"], manifest["predicateType"]) != ("https://in-toto.io/Statement/v1", "urn:interlock:run:v1"):
        findings.append("the manifest is of another type")
    subjects = [(one["name"], one["digest"]["sha256"]) for one in manifest["subject"]]
    if subjects != [(name, hashlib.sha256(content).hexdigest()) for name, content in found[2:]]:
        findings.append("the files are not those of the manifest")
    note = files["checkpoint"].decode()
    origin, size, tree, _, _ = checkpoint_of(note)
    # The entries.
    lines = files["entries.jsonl"].split(b"\n")
    if lines.pop() != b"":
        findings.append("the last entry has no end")
    leaves, expected, keys, state, previous, of_run = [], {}, [], "open", None, 0
    known = keys_of(known)
    for line in lines:
        entry = json.loads(line)
        seq = entry["seq"]
        if previous and (seq <= previous[0] or (seq == previous[0] + 1 and entry["prev"] != previous[1])):
            findings.append(f"entry {seq} does not follow on the one before it")
        previous = (seq, hashlib.sha256(line).hexdigest())
        leaves.append((seq - 1, sha(b"\x00" + line)))
        if "run" not in entry:
            if (entry["event"] == "log_created") != (seq == 1) or entry["event"] not in ("log_created", "log_key_replaced"):
                findings.append(f"entry {seq} says nothing of the run or the log's key")
            elif seq == 1 and f"interlock/{entry['data']['log']}" != origin:
                findings.append("the checkpoint is of another log")
            follow(keys, entry, known, findings)
            continue
        of_run += 1
        if entry["run"] != said["run"]:
            findings.append(f"entry {seq} is of another run")
        state = STANDS.get(entry["event"], state)
        for name, what in named(entry, said["run"]):
            if expected.setdefault(name, what) != what:
                findings.append(f"entry {seq} names another {name}")
    if not leaves or leaves[0][0] != 0 or not of_run:
        findings.append("the first entry of the log, or every entry of the run, is not there")
    proof = files["proof"].decode().split("\n")
    if proof.pop() != "":
        findings.append("the proof has no end")
    proof, count = [unbase(line) for line in proof], len(leaves)
    if any(len(one) != 32 for one in proof) or climb(0, size, leaves, proof) != tree or proof or leaves:
        findings.append("the proof does not lead from the entries to the checkpoint")
    # What the log's key has signed.
    replaced = [key for key, until, _ in keys if until]
    if known:
        keys = [key for key in known + led_to(keys, known) if key not in replaced]
    else:
        keys = [keys[-1][0]] if keys else keys_of([said["key"]])
    if not is_signed(note, keys):
        findings.append("the checkpoint is not signed by a key of the log")
    envelope = json.loads(files["manifest.dsse.json"])
    kind, payload = "application/vnd.in-toto+json", files["manifest.json"]
    encoded = pae(kind, payload)
    signed = [key for one in envelope["signatures"] for key in {key[1]: key for key in keys}.values() if one["keyid"] == f"{key[0]}+{key[1].hex()}"
              and signed_by(key[2], encoded, unbase(one["sig"]))]
    if envelope["payloadType"] != kind or unbase(envelope["payload"]) != payload or len(signed) != len(envelope["signatures"]):
        findings.append("the manifest is not signed by a key of the log")
    if (said["log"], said["log_entries"], said["entries"], said["state"]) != (origin, size, count, state):
        findings.append("the manifest says otherwise than the entries")
    # The files that the entries name.
    for name, what in expected.items():
        if name not in files:
            if name not in said["missing"] or not isinstance(what, dict):
                findings.append(f"{name} is not there")
        elif not is_what(files[name], what):
            findings.append(f"{name} is another")
    findings += [f"no entry names {name}" for name, _ in found[5:] if name not in expected]
    return findings, f"run {said['run']}, {state}: {count} entries of a log of {size}"

def main(arguments):
    known, entries_only = [], "--entries-only" in arguments
    arguments = [argument for argument in arguments if argument != "--entries-only"]
    while "--key" in arguments:
        at = arguments.index("--key")
        known.append(arguments[at + 1])
        del arguments[at:at + 2]
    path, *given = arguments
    if os.path.isdir(path):
        findings, summary = log(path, given, known, entries_only)
    else:
        try:
            findings, summary = bundle(path, known)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            findings, summary = [f"not a bundle: {error!r}"], "nothing of it is believed"
    for finding in findings:
        print(finding)
    print(summary)
    return 11 if findings else 0

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
