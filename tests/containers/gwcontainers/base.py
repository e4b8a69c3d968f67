"""The base image debian:12-slim, from the mirror and the proxy that apt is configured with."""

import os
import shutil
import subprocess

from .report import Failed

SUITE = "bookworm"
# What Debian's slim images leave out, too.
LEFT_OUT = ["./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/info/*", "./var/cache/apt/*",
            "./var/lib/apt/lists/*", "./var/log/*", "./dev/*", "./proc/*", "./sys/*"]


def _output(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout


def mirror():
    sites = _output("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {SUITE}").split()
    if not sites:
        raise Failed(f"apt has no source for {SUITE} (apt-get update?)")
    return sites[0]


def make(work, cache=None):
    """base.tar in `work`, of the root file system; kept as `cache` when that is given, and taken from there."""
    root, tar = os.path.join(work, "root"), os.path.join(work, "base.tar")
    if cache and os.path.exists(cache):
        shutil.copyfile(cache, tar)
        return
    with open(os.path.join(work, "debootstrap.log"), "w", encoding="utf-8") as log:
        done = subprocess.run(["debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, root, mirror()],
                              stdout=log, stderr=log, check=False)
    if done.returncode != 0:
        with open(os.path.join(work, "debootstrap.log"), encoding="utf-8") as log:
            raise Failed("debootstrap: " + "".join(log.readlines()[-5:]))
    proxy = _output("apt-config", "dump", "Acquire::http::Proxy") + _output("apt-config", "dump", "Acquire::https::Proxy")
    with open(os.path.join(root, "etc/apt/apt.conf.d/80-of-the-host"), "w", encoding="utf-8") as file:
        file.write(proxy + 'Acquire::Retries "3";\n')
    with open(os.path.join(root, "etc/dpkg/dpkg.cfg.d/slim"), "w", encoding="utf-8") as file:
        file.write("".join(f"path-exclude {pattern[1:]}\n" for pattern in LEFT_OUT if pattern.startswith("./usr/share")))
    subprocess.run(["tar", "-C", root, "-cf", tar, "--numeric-owner", *(f"--exclude={pattern}" for pattern in LEFT_OUT), "."],
                   check=True)
    shutil.rmtree(root)
    if cache:
        shutil.copyfile(tar, cache + ".new")
        os.rename(cache + ".new", cache)
