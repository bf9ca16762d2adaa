#!/usr/bin/env python3
"""A second verifier of audit logs, written from docs/audit-format.md alone and sharing no code with the first.

    verify.py AUDIT-FOLDER [CHECKPOINT…]

Follows the chain, works out the tree, and holds it against the checkpoints beside the log and those that are given. Signatures are
checked with openssl. Says what it finds, and exits with 0 or 11. It does not judge torn tails nor what events can follow on each other.
"""
import base64, hashlib, json, os, re, subprocess, sys, tempfile

def sha(data):
    return hashlib.sha256(data).digest()

def root(leaves):
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\x01" + root(leaves[:k]) + root(leaves[k:]))

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

def keys_of(texts):
    keys = []
    for text in texts:
        name, fingerprint, encoded = text.strip().split("+", 2)
        key = base64.b64decode(encoded)
        known = sha(name.encode() + b"\n" + key)[:4]
        if key[0] == 1 and known.hex() == fingerprint:
            keys.append((name, known, key[1:]))
    return keys

def main(folder, given):
    findings, leaves, keys = [], [], []
    segments = sorted(name for name in os.listdir(folder) if re.fullmatch(r"\d{16,}\.jsonl", name))
    previous = "0" * 64
    for segment in segments:
        with open(os.path.join(folder, segment), "rb") as file:
            lines = [line for line in file.read().split(b"\n") if line]
        for line in lines:
            number = len(leaves) + 1
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
            if entry["event"] == "log_created" and "key" in entry["data"]:
                keys.append(entry["data"]["key"])
    public = os.path.join(folder, "..", "keys", "log.pub")
    if os.path.exists(public):
        keys.append(open(public).read())
    keys = keys_of(keys)
    beside = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if re.fullmatch(r"\d{16,}\.checkpoint", name)]
    for path in beside + given:
        if os.path.islink(path) or not os.path.isfile(path):
            findings.append(f"{path}: not a file")
            continue
        if os.path.getsize(path) == 0 and path in beside:
            continue
        text, _, signatures = open(path, encoding="utf-8").read().partition("\n\n")
        text += "\n"
        try:
            origin, size, tree = text.splitlines()
        except ValueError:
            findings.append(f"{path}: not a checkpoint")
            continue
        believed = False
        for line in signatures.splitlines():
            name, signature = re.fullmatch("\u2014 (\\S+) (\\S+)", line).groups()
            signature = base64.b64decode(signature)
            believed |= any(name == origin == known[0] and signature[:4] == known[1]
                            and signed_by(known[2], text.encode(), signature[4:]) for known in keys)
        if not believed:
            findings.append(f"{path}: not signed by a key of this log")
        elif int(size) > len(leaves):
            findings.append(f"{path}: {size} entries then, and {len(leaves)} can be read now")
        elif root(leaves[:int(size)]) != base64.b64decode(tree):
            findings.append(f"{path}: entries 1 to {size} are others than then")
    for finding in findings:
        print(finding)
    print(f"{len(leaves)} entries, head {previous}")
    return 11 if findings else 0

if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
