"""A made-up WSO2 Identity Server `repository` in two releases, for machines without the real ones.

Shape and sizes follow a real one: some 240 files, most of 1 to 20 KB, templates and schemas under
conf, one user store per tenant, and one larger archive. Contents are invented and reproducible.
"""

import os
import random
from pathlib import Path

WORDS = ("realm domain connection search base attribute mapping read group user claim secret retry "
         "cache timeout referral membership display unique filter class entry pool").split()


def user_store(domain, revision=1, properties=24):
    """One user store definition, in the shape the server writes."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>',
             '<UserStoreManager class="org.example.user.core.ldap.UniqueIDReadWriteLDAPUserStore">']
    for number in range(properties):
        name = "".join(word.capitalize() for word in (WORDS[number % len(WORDS)], f"p{number}"))
        lines.append(f'    <Property name="{name}">{domain}-{number}-r{revision}</Property>')
    lines += [f'    <Property name="DomainName">{domain}</Property>',
              f'    <Property name="Description">revision {revision} of {domain}</Property>',
              "</UserStoreManager>", ""]
    return "\n".join(lines).encode()


def event_stream(name, revision=1):
    return (f'{{"name": "{name}", "version": "1.0.{revision}", "nickName": "",\n'
            ' "payloadData": [{"name": "subject", "type": "STRING"}, {"name": "body", "type": "STRING"}]}\n'
            ).encode()


def event_publisher(name, revision=1):
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<eventPublisher name="{name}" revision="{revision}">\n'
            f'    <from streamName="{name}" version="1.0.0"/>\n    <to eventAdapterType="email"/>\n'
            '</eventPublisher>\n').encode()


def _settings(chooser, count):
    lines = []
    for number in range(count):
        words = "_".join(chooser.sample(WORDS, 3))
        lines.append(f"{words}_{number} = {chooser.randrange(10**6)}")
    return ("[server]\n" + "\n".join(lines) + "\n").encode()


def contents(release):
    """{relative path: bytes} of release 1 or 2. Release 2 has eight files more and 67 others changed."""
    files = {}
    chooser = random.Random(7)
    for number in range(150):
        area = ("identityMgt", "email", "scim2", "oauth", "saml", "userMgt")[number % 6]
        files[f"conf/site-overrides/{area}/{WORDS[number % len(WORDS)]}_{number}.toml"] = _settings(
            chooser, chooser.randrange(20, 500))
    for number in range(30):
        files[f"resources/conf/templates/repository/conf/part{number}.xml.j2"] = _settings(
            chooser, chooser.randrange(20, 900))
    for name in ("carbon", "registry", "user-mgt", "axis2"):
        files[f"conf/{name}.xml"] = user_store(name, properties=200)
    for tenant in range(1, 13):
        for domain in ("PARTNERS", "STAFF"):
            files[f"tenants/{tenant}/userstores/{domain}.xml"] = user_store(f"{domain}{tenant}")
    for name in ("mail", "sms", "audit", "session", "tokens", "login", "logout", "reset"):
        files[f"deployment/server/eventstreams/{name}_1.0.0.json"] = event_stream(name)
        files[f"deployment/server/eventpublishers/{name}.xml"] = event_publisher(name)
    for domain in ("PRIMARY_LDAP", "CUSTOMERS"):
        files[f"deployment/server/userstores/{domain}.xml"] = user_store(domain)
    files["conf/site-overrides/default-schema.zip"] = random.Random(8).randbytes(750_000)
    files["logs/wso2carbon.log"] = b"started\n"
    files["README.txt"] = b"A made-up repository.\n"
    if release == 2:
        _upgrade(files)
    return files


def _upgrade(files):
    for path in sorted(files)[:: max(1, len(files) // 67)][:67]:
        files[path] = _changed(path, files[path])
    for number in range(8):
        files[f"conf/site-overrides/compatibility-settings/added_{number}.toml"] = _settings(
            random.Random(number), 60)


def _changed(path, content):
    if path.endswith(".xml"):
        return content.replace(b"-r1<", b"-r2<").replace(b"revision=\"1\"", b"revision=\"2\"")
    if path.endswith(".json"):
        return content.replace(b"1.0.1", b"1.0.2")
    middle = len(content) // 2
    return content[:middle] + b"# release 2\n" + content[middle:]


def write(top, release=1):
    """Makes the tree `top` hold exactly this release, in place, as an upgrade would."""
    become(top, contents(release))


def become(top, files, modes=None):
    """Turns a tree into {path: bytes}: changed files are rewritten in place, others left alone."""
    top = Path(top)
    top.mkdir(parents=True, exist_ok=True)
    wanted_directories = {str(parent) for path in files for parent in Path(path).parents}
    for directory, names, leaves in os.walk(top, topdown=False):
        if ".artifact-sync" in Path(directory).relative_to(top).parts:
            continue
        for name in leaves:
            path = Path(directory, name)
            if str(path.relative_to(top)) not in files:
                path.unlink()
        for name in names:
            path = Path(directory, name)
            if name != ".artifact-sync" and str(path.relative_to(top)) not in wanted_directories:
                path.rmdir()
    for path, content in files.items():
        target = top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
        if modes and path in modes:
            target.chmod(modes[path])
