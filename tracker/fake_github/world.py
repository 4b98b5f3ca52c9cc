"""The world behind the fake GitHub: who and what there is, what happens, and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tracker.fake_github import access, deliveries, events, git
from tracker.fake_github.acting import Actor
from tracker.fake_github.hook_records import Delivery, Hook
from tracker.fake_github.keys import key_pair
from tracker.fake_github.records import LEVELS, App, Installation, Repository, User
from tracker.fake_github.shapes import accounts
from tracker.fake_github.store import Store

APP_PERMISSIONS = {
    "issues": "write",
    "pull_requests": "write",
    "contents": "write",
    "checks": "write",
    "statuses": "read",
    "actions": "read",
    "metadata": "read",
}
_ACTIONS_ID = 15_368


class World(Store):
    """Everything on the fake GitHub. Thread-safe: one lock guards it all."""

    def __init__(self, *, url: str, git_root: Path | None) -> None:
        super().__init__(url=url, git_root=git_root)
        self.auto_deliver = False
        """True: the server sends webhooks by itself, on a thread. False: `deliver` does."""

    # -- people

    def add_user(self, login: str, *, type: str = "User") -> int:  # noqa: A002 - GitHub's own word
        """Add a `User`, `Bot` or `Organization`; the id, also of one that exists already.

        Raises:
            ValueError: Another type.
        """
        if type not in ("User", "Bot", "Organization"):
            raise ValueError(f"type={type!r}: use 'User', 'Bot' or 'Organization'")
        with self.writing():
            if self.has_user(login):
                return self.user(login).id
            user = User(id=self.new_id(), login=login, type=type)
            self.state.users[user.id] = user
            return user.id

    def rename_user(self, old: str, new: str) -> None:
        """Give somebody another login. Ids, permissions and tokens stay; the old login is free again.

        Raises:
            ValueError: The new login is taken.
        """
        with self.writing():
            if self.has_user(new) and old.casefold() != new.casefold():
                raise ValueError(f"The login {new!r} is taken; choose another one")
            self.user(old).login = new

    def add_token(self, token: str, login: str) -> None:
        """Give somebody a personal token; unknown people are added."""
        with self.writing():
            self.tokens[token] = self.add_user(login)

    # -- Apps

    def add_app(
        self,
        app_id: int = 1,
        slug: str = "agent-grid",
        private_key_pem: str | None = None,
        *,
        permissions: Mapping[str, str] | None = None,
        owner: str = "acme",
    ) -> App:
        """Register a GitHub App with its bot user `slug[bot]`.

        Args:
            private_key_pem: RSA; None makes one.
            permissions: What installations grant; None: `APP_PERMISSIONS`.
        """
        private, public = key_pair(private_key_pem)
        with self.writing():
            bot_id = self.add_user(f"{slug}[bot]", type="Bot")
            app = App(
                id=app_id,
                slug=slug,
                private_key_pem=private,
                public_key_pem=public,
                bot_login=f"{slug}[bot]",
                bot_id=bot_id,
                owner_id=self.add_user(owner, type="Organization"),
                permissions=dict(APP_PERMISSIONS if permissions is None else permissions),
                created_at=self.timestamp(),
            )
            self.state.apps[app_id] = app
            return app

    def add_installation(self, app: App, account: str = "acme", repositories: Sequence[str] | None = None) -> int:
        """Install an App on an account; the installation's id.

        Args:
            repositories: Full names; None: all of the account's, also later ones.
        """
        with self.writing():
            account_id = self.add_user(account, type="Organization")
            ids = None if repositories is None else [self.repository(name).id for name in repositories]
            found = Installation(
                id=self.new_id(),
                app_id=app.id,
                account_id=account_id,
                repository_ids=ids,
                permissions=dict(app.permissions),
                created_at=self.timestamp(),
            )
            self.state.installations[found.id] = found
            mine = [one for one in self.state.repositories.values() if events.installation_on(self, app.id, one)]
            shapes = [accounts.repository(self, one) for one in mine]
            events.emit_to_app(self, "installation", "created", found, account_id, repositories=shapes)
            return found.id

    def remove_installation(self, installation_id: int) -> None:
        """Uninstall an App; its tokens end."""
        with self.writing():
            found = self.state.installations[installation_id]
            events.emit_to_app(self, "installation", "deleted", found, found.account_id)
            del self.state.installations[installation_id]

    def set_installation_repositories(self, installation_id: int, repositories: Sequence[str]) -> None:
        """Change which repositories an installation reaches."""
        with self.writing():
            found = self.state.installations[installation_id]
            wanted = [self.repository(name) for name in repositories]
            reached = [
                one for one in self.state.repositories.values() if events.installation_on(self, found.app_id, one)
            ]
            found.repository_ids = [one.id for one in wanted]
            for action, changed in (
                ("added", [one for one in wanted if one not in reached]),
                ("removed", [one for one in reached if one not in wanted]),
            ):
                if changed:
                    shapes = [
                        {"id": one.id, "full_name": self.full_name(one), "private": one.private} for one in changed
                    ]
                    parts = {f"repositories_{action}": shapes, "repository_selection": "selected"}
                    events.emit_to_app(self, "installation_repositories", action, found, found.account_id, **parts)

    def set_app_permissions(self, installation_id: int, permissions: Mapping[str, str]) -> None:
        """Change what an installation grants; tokens minted before keep what they had."""
        with self.writing():
            self.state.installations[installation_id].permissions = dict(permissions)

    # -- repositories

    def add_repository(
        self,
        full_name: str,
        permissions: Mapping[str, str] | None = None,
        *,
        private: bool = True,
        default_branch: str = "main",
        files: Mapping[str, str] | None = None,
    ) -> Repository:
        """Add a repository; with a git root also an empty bare one. Its owner is made an organization if new.

        Args:
            permissions: `read`, `triage`, `write`, `maintain` or `admin` by login; unknown people are added.
            files: Text by path, for a first commit to the default branch; needs a git root.
        """
        owner, _, name = full_name.partition("/")
        if not owner or not name or "/" in name or name in (".", ".."):
            raise ValueError(f"{full_name!r} is no repository; write owner/name")
        git_dir = None if self.git_root is None else self.git_root / owner / f"{name}.git"
        if git_dir is not None:
            git.create(git_dir, default_branch=default_branch)
            git.first_commit(git_dir, branch=default_branch, files=files or {})
        with self.writing():
            at = self.timestamp()
            repository = Repository(
                id=self.new_id(),
                owner_id=self.add_user(owner, type="Organization"),
                name=name,
                private=private,
                default_branch=default_branch,
                git_dir=git_dir,
                created_at=at,
            )
            self.state.repositories[repository.id] = repository
            self._install_actions(owner)
            for login, level in (permissions or {}).items():
                self.set_permission(full_name, login, level)
            return repository

    def rename_repository(self, full_name: str, name: str) -> None:
        """Give a repository another name with the same owner. Its number stays; the old name is free again.

        Unlike GitHub, this one sends nobody on from the old name.
        """
        with self.writing():
            found = self.repository(full_name)
            found.name = name
            if found.git_dir is not None:
                found.git_dir = found.git_dir.rename(found.git_dir.with_name(f"{name}.git"))

    def set_permission(self, full_name: str, login: str, level: str) -> None:
        """Change what somebody may do; `none` removes them.

        Raises:
            ValueError: An unknown level.
        """
        if level not in LEVELS:
            raise ValueError(f"{level!r} is no level; use one of {', '.join(LEVELS)}")
        with self.writing():
            found = self.repository(full_name)
            user_id = self.add_user(login)
            if level == "none":
                found.permissions.pop(user_id, None)
            else:
                found.permissions[user_id] = level

    def _install_actions(self, owner: str) -> None:
        """CI writes check runs as an App of its own, so there is one."""
        if _ACTIONS_ID not in self.state.apps:
            permissions = {"checks": "write", "statuses": "write", "metadata": "read"}
            self.add_app(_ACTIONS_ID, "github-actions", permissions=permissions, owner="github")
        account_id = self.user(owner).id
        if not any(
            (one.app_id, one.account_id) == (_ACTIONS_ID, account_id) for one in self.state.installations.values()
        ):
            self.add_installation(self.state.apps[_ACTIONS_ID], owner)

    # -- webhooks

    def add_hook(
        self,
        target: str | App,
        *,
        url: str,
        secret: str = "",
        events: Sequence[str] = ("*",),
        duplicate: bool = False,
        shuffle: int | None = None,
        drop: bool = False,
    ) -> Hook:
        """Send the events of a repository, or of all repositories an App is installed on, to an address.

        The hook returned may be changed at any time, for instance its `secret` or `drop`.
        """
        with self.lock:
            hook = Hook(
                id=self.new_id(),
                url=url,
                secret=secret,
                events=tuple(events),
                repository_id=self.repository(target).id if isinstance(target, str) else None,
                app_id=target.id if isinstance(target, App) else None,
                created_at=self.timestamp(),
                duplicate=duplicate,
                shuffle=shuffle,
                drop=drop,
            )
            self.hooks[hook.id] = hook
            return hook

    @property
    def deliveries(self) -> list[Delivery]:
        """All deliveries so far, those still queued (`status_code` None) included."""
        with self.lock:
            return list(self.outbound.all)

    def deliver(self, *, duplicate: bool = False, shuffle: int | None = None, drop: bool = False) -> list[int]:
        """Send what is queued. See `deliveries.send_all`.

        Returns:
            The listeners' status codes, in the order of sending; 0 for no answer.
        """
        sent = deliveries.send_all(self, duplicate=duplicate, shuffle=shuffle, drop=drop)
        return [one.status_code or 0 for one in sent]

    def redeliver(self, delivery_id: int) -> None:
        """Queue another attempt of a delivery, as the button on GitHub's pages does."""
        with self.lock:
            deliveries.redeliver(self, set(self.hooks), delivery_id)

    # -- people at work

    def act(self, login: str, repository: str | None = None) -> Actor:
        """Somebody at work, with their own permissions.

        Args:
            repository: Full name; None: the first one added.

        Raises:
            ApiError: 404 when there is no such person or repository.
        """
        with self.lock:
            user = self.user(login)
            found = self.repository(repository) if repository else next(iter(self.state.repositories.values()))
            caller = access.for_person(user.id)
            for app in self.state.apps.values():
                installation = events.installation_on(self, app.id, found)
                if app.bot_id == user.id and installation is not None:
                    caller = access.for_installation(self, installation.id)
            return Actor(self, caller, found)
