"""Write the configuration files of all services, at each start."""

from __future__ import annotations

import getpass
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, TypeAlias

from tests.testbed.openstack.layout import INTROSPECTION_SECRET, SERVICE_PASSWORD
from tests.testbed.simcloud import credentials

if TYPE_CHECKING:
    from tests.testbed.openstack.layout import Layout

Ini: TypeAlias = dict[str, dict[str, object]]

TEMPLATES = Path(__file__).parent / "templates"
APACHE_ACCOUNT = "www-data"
OTHER_ENTITLEMENT = credentials.ENTITLEMENT.replace("role=vm_operator", "role=member")
"""Held by the person too, but good for nothing at Keystone."""


@dataclass(frozen=True)
class Tokens:
    """Lifetimes in seconds, and whether the OpenID provider accepts a refresh token only once."""

    keystone_seconds: int = 3600
    access_seconds: int = 3600
    refresh_seconds: int = 400 * 86400
    rotate: bool = True


def write_configuration(layout: Layout, broker_url: str, tokens: Tokens) -> None:
    """Write all files below `layout.etc`.

    Args:
        layout: The cloud's layout; its folders must exist.
        broker_url: An AMQP URL for Nova's messages.
        tokens: Lifetimes of tokens.
    """
    compute = _compute(layout, broker_url.replace("amqp://", "rabbit://", 1))
    files: dict[str, Ini] = {
        "keystone/keystone.conf": _keystone(layout, tokens),
        "placement/placement.conf": _placement(layout),
        "glance/glance-api.conf": _glance(layout),
        "nova/nova.conf": compute | _nova_databases(layout),
        # Nova logs long complaints if nova-compute has a database URL.
        "nova-compute.conf": compute,
        # One compute node is one resource provider in Placement: parallel claims only conflict.
        "nova-scheduler.conf": {"DEFAULT": {"executor_thread_pool_size": 4}},
    }
    for name, content in files.items():
        _write(layout.etc / name, _ini(content))
    shutil.copy(layout.venv / "etc/nova/api-paste.ini", layout.etc / "nova")
    _write(layout.etc / "oidc.json", json.dumps(_oidc(layout, tokens)))
    for name in ("apache2.conf", "mariadb.cnf"):
        _write(layout.etc / name, _filled(TEMPLATES / name, layout))


def _keystone(layout: Layout, tokens: Tokens) -> Ini:
    return {
        "DEFAULT": {
            "public_endpoint": layout.url("keystone"),
            # Answers to refused logins then hold the reason.
            "insecure_debug": True,
        },
        "database": _database(layout, "keystone"),
        "cache": {"enabled": True, "backend": "oslo_cache.dict", "expiration_time": 30},
        # These passwords need no protection; with the default each login takes 0.3 s.
        "identity": {"password_hash_rounds": 4, "max_password_length": 72},
        # Without a cache, so that a revocation takes effect at once.
        "token": {
            "expiration": tokens.keystone_seconds,
            "caching": False,
            "cache_on_issue": False,
        },
        "fernet_tokens": {"key_repository": layout.state / "fernet-keys"},
        "credential": {"key_repository": layout.state / "credential-keys"},
        "auth": {"methods": "password,token,application_credential,mapped,openid"},
        "federation": {"remote_id_attribute": "HTTP_OIDC_ISS"},
        "openid": {"remote_id_attribute": "HTTP_OIDC_ISS"},
    }


def _placement(layout: Layout) -> Ini:
    return {
        # A claim holds several connections at once: with the default pool, threads deadlock.
        "placement_database": _database(layout, "placement"),
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": _token_checks(layout, "placement"),
    }


def _glance(layout: Layout) -> Ini:
    state = layout.state
    return {
        "DEFAULT": {
            "enabled_backends": "file:file",
            "enabled_import_methods": "[]",
            "worker_self_reference_url": layout.url("glance"),
        },
        "glance_store": {"default_backend": "file"},
        "file": {"filesystem_store_datadir": state / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": state / "image-staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": state / "image-tasks"},
        "database": _database(layout, "glance"),
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": layout.venv / "etc/glance/glance-api-paste.ini",
        },
        "keystone_authtoken": _token_checks(layout, "glance"),
    }


def _compute(layout: Layout, transport_url: str) -> Ini:
    return {
        "DEFAULT": {
            "state_path": layout.state / "nova",
            "host": "compute1",
            "my_ip": "127.0.0.1",
            "transport_url": transport_url,
            "compute_driver": "guest_driver.GuestDriver",
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
            "heal_instance_info_cache_interval": -1,
            "sync_power_state_interval": -1,
            "initial_cpu_allocation_ratio": 16.0,
            "initial_ram_allocation_ratio": 4.0,
            "reserved_host_memory_mb": 0,
            # Under load, the heartbeats of the only compute node are late, but it is never down.
            "service_down_time": 3600,
            "shelved_offload_time": 0,
            "allow_resize_to_same_host": True,
        },
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": _token_checks(layout, "nova"),
        "service_user": {"send_service_user_token": False},
        "placement": _service_login(layout, "placement") | {"region_name": credentials.REGION},
        "glance": {"endpoint_override": layout.url("glance")},
        "neutron": _service_login(layout, "nova") | {"endpoint_override": layout.url("neutron")},
        "oslo_concurrency": {"lock_path": layout.run},
        "oslo_messaging_notifications": {"driver": "noop"},
        "oslo_messaging_rabbit": {"rpc_conn_pool_size": 80},
        "vnc": {"enabled": False},
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1},
        "filter_scheduler": {"track_instance_changes": False},
    }


def _nova_databases(layout: Layout) -> Ini:
    return {
        "api_database": _database(layout, "nova_api"),
        "database": _database(layout, "nova"),
    }


def _oidc(layout: Layout, tokens: Tokens) -> dict[str, object]:
    return {
        "issuer": layout.issuer,
        "cookie_key": "signs-cookies-that-nobody-gets",
        "person": {
            "subject": credentials.SUBJECT,
            "email": "keeper@example.org",
            "username": credentials.USERNAME,
            "entitlements": [credentials.ENTITLEMENT, OTHER_ENTITLEMENT],
        },
        "clients": {
            "public": {"id": credentials.PUBLIC_CLIENT},
            "confidential": {
                "id": credentials.CONFIDENTIAL_CLIENT,
                "secret": credentials.CONFIDENTIAL_CLIENT_SECRET,
            },
            "introspection": {"id": "keystone", "secret": INTROSPECTION_SECRET},
        },
        "settings": {
            "access_token_seconds": tokens.access_seconds,
            "refresh_token_seconds": tokens.refresh_seconds,
            "rotate_refresh_tokens": tokens.rotate,
        },
    }


def _database(layout: Layout, name: str) -> dict[str, object]:
    return {"connection": layout.database_url(name), "max_pool_size": 60, "max_overflow": 40}


def _service_login(layout: Layout, username: str) -> dict[str, object]:
    return {
        "auth_url": f"{layout.url('keystone_wsgi')}/v3",
        "auth_type": "password",
        "username": username,
        "password": SERVICE_PASSWORD,
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }


def _token_checks(layout: Layout, username: str) -> dict[str, object]:
    return _service_login(layout, username) | {
        "www_authenticate_uri": layout.auth_url,
        "service_token_roles_required": False,
        # The default would hide a revocation for 300 s.
        "token_cache_time": 1,
    }


def _filled(template: Path, layout: Layout) -> str:
    values = {
        "etc": layout.etc,
        "log": layout.log,
        "run": layout.run,
        "state": layout.state,
        "issuer": layout.issuer,
        "introspection_secret": INTROSPECTION_SECRET,
        "account": getpass.getuser(),
        # Apache as root must serve as another user; as another user, it ignores these.
        "apache_account": APACHE_ACCOUNT,
        "keystone_wsgi_url": layout.url("keystone_wsgi"),
    }
    return Template(template.read_text()).substitute(values | asdict(layout.ports))


def _ini(sections: Ini) -> str:
    lines = []
    for section, options in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in options.items()), ""]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
