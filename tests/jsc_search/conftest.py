from tests.jsc_launcher.conftest import sweep_command  # noqa: F401  # a fixture
