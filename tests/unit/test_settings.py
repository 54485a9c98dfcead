"""Settings: defaults, the environment, and one clear line for what is wrong."""

import pytest

from consumer.settings import Settings, WrongSetting


def test_defaults_are_the_design_s() -> None:
    settings = Settings.load()
    assert (settings.stream, settings.group) == ("region-events", "region-persisters")
    assert (settings.batch, settings.subscribers, settings.max_deliveries) == (256, 3, 5)
    assert settings.redis_url == "redis://localhost:6379/0"
    assert settings.allowed is not None
    assert len(settings.allowed) == 8


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "unix:///tmp/redis.sock")
    monkeypatch.setenv("REGIONS_ALLOWED", "mena, europe")
    monkeypatch.setenv("REGIONS_CONSUMER", "me")
    settings = Settings.load()
    assert settings.allowed == {"mena", "europe"}
    assert settings.consumer == "me"
    assert settings.redis_url == "unix:///tmp/redis.sock"
    monkeypatch.setenv("REGIONS_ALLOWED", "*")
    assert Settings.load().allowed is None


def test_a_dotenv_file(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    with open(".env", "w") as file:
        file.write("REGIONS_BATCH=17\nREDIS_URL=redis://elsewhere:1/0\n")
    assert Settings.load().batch == 17
    assert Settings.load().redis_url == "redis://elsewhere:1/0"


def test_consumer_names_are_unique() -> None:
    assert Settings.load().consumer != Settings.load().consumer


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REGIONS_BATCH", "many", "REGIONS_BATCH is 'many'"),
        ("REGIONS_BATCH", "0", "REGIONS_BATCH"),
        ("REGIONS_MAX_DELIVERIES", "1", "REGIONS_MAX_DELIVERIES"),
        ("REGIONS_IDLE_MS", "20000", "must exceed the retry budget"),
        ("REGIONS_DEAD_STREAM", "region-events", "must differ"),
        ("REGIONS_HTTP", "8080", "HOST:PORT"),
        ("REDIS_URL", "http://user:hunter2@host", "must begin with redis://"),
        ("REDIS_URL", "redis://:hunter2@host:port/0", "cannot be read"),
    ],
)
def test_wrong_settings_are_one_line_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSetting, match=said) as caught:
        Settings.load()
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_password_is_not_in_its_repr() -> None:
    assert "hunter2" not in repr(Settings.load(redis_url="redis://u:hunter2@host/0"))
