"""Where everything of one stack lies, and as whom it runs.

As root all parts run as an unprivileged system user. A checkout may be closed to that user (under /root, say): then
the state folder becomes a link to one that is not, and what the user must execute or read is copied there.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess

from .errors import StackError

SYSTEM_PATH = ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_USER = "imgproxy-gw"
# sun_path has 108 bytes. HAProxy binds a socket under a temporary name: 90 are safe for it.
SOCKET_DIR_MAX = 90 - len("/haproxy.sock")


def find_program(name, override=None):
    """A program's path, looked up as a login shell of root would, or StackError."""
    wanted = override or name
    path = shutil.which(wanted, path=os.environ.get("PATH", "") + SYSTEM_PATH)
    if not path:
        raise StackError(f"{name}: program {wanted} not found; `make setup` installs what is missing")
    return os.path.abspath(path)


class Account:
    """The user whom all parts run as: oneself, or as root a system user, which is made when it is missing."""

    def __init__(self, name=None):
        self.switch = os.geteuid() == 0
        if not self.switch:
            self.uid, self.gid = os.geteuid(), os.getegid()
            self.name = _name_of(self.uid)
            return
        self.name = name or os.environ.get("GATEWAY_USER") or DEFAULT_USER
        entry = _entry(self.name) or self._create()
        if entry.pw_uid == 0:
            raise StackError(f"GATEWAY_USER={self.name}: the stack does not run as root; name another user")
        self.uid, self.gid = entry.pw_uid, entry.pw_gid

    def _create(self):
        made = subprocess.run(
            [find_program("useradd"), "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
             "--shell", "/usr/sbin/nologin", self.name],
            capture_output=True, text=True, check=False)
        entry = _entry(self.name)
        if entry is None:
            raise StackError(f"cannot make the system user {self.name}: {made.stderr.strip() or 'useradd failed'}")
        return entry

    def popen_args(self):
        """Arguments of subprocess that become this user."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can(self, flag, path):
        """Whether this user passes `test FLAG PATH`."""
        if not self.switch:
            return subprocess.run(["/usr/bin/test", flag, path], check=False).returncode == 0
        return subprocess.run(["/usr/bin/test", flag, path], check=False, cwd="/", **self.popen_args()).returncode == 0


def _entry(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _name_of(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class Layout:
    """The folders of one stack. Nothing is made before prepare()."""

    def __init__(self, root, state_dir, account):
        self.root = os.path.realpath(root)
        self.link = os.path.abspath(state_dir)
        self.account = account
        self.state = os.path.realpath(self.link)
        self._copies = {}

    def path(self, *parts):
        return os.path.join(self.state, *parts)

    @property
    def logs(self):
        return self.path("log")

    @property
    def pids(self):
        return self.path("run", "pids")

    def prepare(self):
        self.prepare_state()
        for name in ("log", "run", "run/pids", "stack"):
            self.folder(name, 0o755, mine=False)
        self.sockets = self._prepare_sockets()
        self.folder("agent", 0o750)
        self._copies = {}

    def prepare_state(self):
        """Makes the state folder alone, where the user of the parts can reach it."""
        if os.path.islink(self.link) and not os.path.isdir(self.link):
            os.makedirs(os.path.realpath(self.link), exist_ok=True)
        try:
            os.makedirs(self.link, exist_ok=True)
        except OSError as error:
            raise StackError(f"cannot make the state folder {self.link}: {error.strerror}") from error
        self.state = os.path.realpath(self.link)
        owner = os.stat(self.state).st_uid
        if owner != os.geteuid():
            raise StackError(f"the state folder {self.link} belongs to {_name_of(owner)}; "
                             "run as that user or remove it")
        # What is private inside has a mode of its own; the unprivileged user must get through here.
        os.chmod(self.state, 0o755)
        if not self.account.can("-x", self.state):
            self._move_state()

    def _move_state(self):
        """Puts the state where the user can reach it; a link stands in its old place."""
        if os.path.islink(self.link) or os.listdir(self.state):
            raise StackError(f"the user {self.account.name} cannot reach {self.state}, which has files already; "
                             "move it away and start again")
        name = "imgproxy-gateway-" + hashlib.sha256(self.link.encode()).hexdigest()[:10]
        for parent in ("/var/lib", "/var/tmp"):
            target = os.path.join(parent, name)
            if not self.account.can("-x", parent) or not os.access(parent, os.W_OK):
                continue
            _own_folder(target, 0o755, (os.geteuid(),))
            os.rmdir(self.link)
            os.symlink(target, self.link)
            self.state = target
            return
        raise StackError(f"the user {self.account.name} can reach neither {self.state} nor a folder in /var")

    def _prepare_sockets(self):
        inside = self.path("run", "sock")
        if len(inside.encode()) <= SOCKET_DIR_MAX:
            return self.folder("run/sock", 0o750)
        short = "/tmp/igw-" + hashlib.sha256(self.state.encode()).hexdigest()[:12]
        _own_folder(short, 0o750, (os.geteuid(), self.account.uid))
        self._give(short)
        if not os.path.islink(inside):
            os.symlink(short, inside)
        return short

    def folder(self, name, mode=0o750, mine=True):
        """Makes a folder below the state; `mine` gives it to the user of the parts."""
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        if mine:
            self._give(path)
        return path

    def write(self, name, text, mode=0o600, mine=True):
        """Writes a file below the state in one step: nobody ever sees half of it, or it with another mode."""
        path = self.path(name)
        temporary = path + ".new"
        if os.path.lexists(temporary):
            os.unlink(temporary)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, mode)
            if mine and self.account.switch:
                os.fchown(fd, self.account.uid, self.account.gid)
            file.write(text)
        os.rename(temporary, path)
        return path

    def _give(self, path):
        if self.account.switch:
            os.chown(path, self.account.uid, self.account.gid)

    def program(self, path):
        """`path` when the user can run it, else that of a copy that the user can run."""
        return self._reachable(path, "-x", 0o755)

    def data(self, path):
        """The same for a file or a folder that the user must read."""
        return self._reachable(path, "-r", 0o644)

    def _reachable(self, path, flag, mode):
        if path in self._copies:
            return self._copies[path]
        usable = path
        if not self.account.can(flag, path):
            usable = self.path("stack", os.path.basename(path))
            if os.path.isdir(path):
                shutil.rmtree(usable, ignore_errors=True)
                shutil.copytree(path, usable)
                for folder, _, files in os.walk(usable):
                    os.chmod(folder, 0o755)
                    for name in files:
                        os.chmod(os.path.join(folder, name), 0o644)
            else:
                # Not written over: an old process may still run from the old file.
                shutil.copyfile(path, usable + ".new")
                os.chmod(usable + ".new", mode)
                os.rename(usable + ".new", usable)
        self._copies[path] = usable
        return usable


def _own_folder(path, mode, owners):
    """Makes a folder in a place that others can write to as well, or takes one that is ours already."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        info = os.lstat(path)
        if not stat.S_ISDIR(info.st_mode) or info.st_uid not in owners:
            raise StackError(f"{path} belongs to somebody else; remove it") from None
    os.chmod(path, mode)
