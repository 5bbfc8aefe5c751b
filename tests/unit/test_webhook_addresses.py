"""Which addresses may be told: nasty ones are refused, by name and by number."""

from __future__ import annotations

import pytest

from distilq.settings import Settings
from distilq.webhooks.addresses import is_public
from distilq.webhooks.rules import Rules, host_of

RULES = Rules(("hooks.example.com", "*.example.org", "10.0.0.1", "8.8.8.8"))
OPEN = Rules(("127.0.0.1", "localhost"), allow_private=True)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255", "192.0.1.1"),
        *("2606:4700:4700::1111", "2a00:1450::1", "64:ff9b::808:808"),
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254"),
        *("169.254.169.254", "168.63.129.16", "172.16.0.1", "172.31.255.255", "192.0.0.8"),
        *("192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255"),
        *("198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "::7f00:1"),
        *("fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1"),
        *("ff02::1", "2001::1", "2001:0:4136:e378::", "2001:db8::1", "2002:7f00:1::", "2002:808::"),
        *(
            "3fff::1",
            "4000::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "100::1",
        ),
        *("", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "[::1]"),
    ],
)
def test_all_others_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/a/b?c=%20d&e",
        "https://HOOKS.example.COM:8443/",
        "https://a.example.org/",
        "https://a.b-c.example.org/",
        "https://8.8.8.8/",
    ],
)
def test_an_address_at_a_host_that_was_named_is_allowed(url: str) -> None:
    assert RULES.refusal(url) == ""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "characters"),
        ("hooks.example.com", "begin with https://"),
        ("//hooks.example.com/", "begin with https://"),
        ("http://hooks.example.com/", "begin with https://"),
        ("file:///etc/passwd", "begin with https://"),
        ("gopher://hooks.example.com/", "begin with https://"),
        ("https://", "host name"),
        ("https:///path", "host name"),
        ("https:hooks.example.com", "host name"),
        ("https://user@hooks.example.com/", "user"),
        ("https://user:password@hooks.example.com/", "user"),
        ("https://hooks.example.com@evil.example/", "user"),
        ("https://evil.example#@hooks.example.com/", "fragment"),
        ("https://hooks.example.com/#x", "fragment"),
        ("https://evil.example\\@hooks.example.com/", "characters"),
        ("https://hooks.example.com\\.evil.example/", "characters"),
        ("https://hooks.example.com /", "characters"),
        ("https://hooks.example.com\r\nX: y", "characters"),
        ("https://hooks.exämple.com/", "characters"),
        ("https://hooks。example。com/", "characters"),
        ("https://hooks.example.com%00.evil.example/", "host name"),
        ("https://hooks%2eexample.com/", "host name"),
        ("https://hooks.example.com:0/", "port"),
        ("https://hooks.example.com:/", "port"),
        ("https://hooks.example.com:99999/", "port"),
        ("https://hooks.example.com:http/", "port"),
        ("https://hooks.example.com./", "host name"),
        ("https://.example.org/", "host name"),
        ("https://example.org/", "one of the hosts"),
        ("https://evilexample.org/", "one of the hosts"),
        ("https://hooks.example.com.evil.example/", "one of the hosts"),
        ("https://localhost/", "one of the hosts"),
        ("https://127.0.0.1/", "private"),
        ("https://10.0.0.1/", "private"),
        ("https://169.254.169.254/latest/meta-data/", "private"),
        ("https://1.1.1.1/", "one of the hosts"),
        ("https://2130706433/", "host name"),
        ("https://0x7f000001/", "host name"),
        ("https://0x7f.1/", "host name"),
        ("https://127.1/", "host name"),
        ("https://0177.0.0.1/", "host name"),
        ("https://[::1]/", "characters"),
        ("https://[::ffff:127.0.0.1]/", "characters"),
        ("https://[64:ff9b::7f00:1]/", "characters"),
        ("https://[fe80::1%25eth0]/", "characters"),
        ("https://[v1.x]/", "characters"),
        ("https://[/", "characters"),
    ],
)
def test_any_other_address_is_refused_in_words(url: str, words: str) -> None:
    assert words in RULES.refusal(url)


def test_development_may_have_http_and_private_addresses_at_named_hosts() -> None:
    assert OPEN.refusal("http://127.0.0.1:8080/") == ""
    assert OPEN.refusal("https://localhost/") == ""
    assert "one of the hosts" in OPEN.refusal("http://10.0.0.1/")
    assert "begin with https:// or http://" in OPEN.refusal("ftp://localhost/")


def test_the_rules_are_those_of_the_settings() -> None:
    assert Rules.of(Settings()).off
    set_to = Settings(
        webhook_hosts=" Hooks.example.com, *.example.org ,", webhook_allow_private=True
    )
    assert Rules.of(set_to) == Rules(("hooks.example.com", "*.example.org"), allow_private=True)


@pytest.mark.parametrize("hosts", ["https://a.example", "a.example:443", "a b", "*", "a.*.example"])
def test_what_is_no_list_of_hosts_is_no_setting(hosts: str) -> None:
    with pytest.raises(ValueError, match="webhook_hosts"):
        Settings(webhook_hosts=hosts)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.example:1/x", "a.example"),
        ("https://[", "-"),
        ("nothing", "-"),
        ("https://a b", "-"),
    ],
)
def test_the_host_of_an_address_is_one_word(url: str, host: str) -> None:
    assert host_of(url) == host
