"""Image servers see the uploads read-only and without symbolic links.

imgproxy follows a link wherever it leads, also into another tenant's folder. No upload makes one, but a restored backup or
somebody with a shell may. So each image server gets a mount of its own (mount(8): nosymfollow, Linux 5.10) in a user and a
mount namespace, which need no privilege. Where the system has none of them, it starts without, and the stack says so.
"""

import subprocess

# $1: the folder, $2: the signal for the parent's death, which the kernel forgets when a process gets capabilities.
# The flags that the folder's mount has already cannot be taken off here, and have to be named.
_SCRIPT = """
set -e
flags=$(findmnt -n -o VFS-OPTIONS -T "$1")
mount --bind "$1" "$1"
mount -o "remount,bind,$flags,ro,nosymfollow" "$1"
signal=$2
shift 2
exec /usr/bin/setpriv --pdeathsig "$signal" --inh-caps=-all --bounding-set=-all -- "$@"
"""


def command(folder, death_signal, *program):
    return ["/usr/bin/unshare", "--user", "--map-root-user", "--mount", "--",
            "/bin/sh", "-c", _SCRIPT, "nosymfollow", folder, death_signal, *program]


def is_possible(folder, account):
    try:
        done = subprocess.run(command(folder, "TERM", "/bin/true"), capture_output=True, check=False, timeout=10, cwd="/",
                              stdin=subprocess.DEVNULL, **account.popen_args())
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
