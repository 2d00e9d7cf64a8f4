import subprocess
import sys


def fresh(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_starts_no_backend_sets_no_flag_and_draws_nothing():
    code = """
import sys, jax
before = {name: getattr(jax.config, name) for name in ("jax_enable_x64", "jax_platforms", "jax_debug_nans")}
import jaxnum
assert before == {name: getattr(jax.config, name) for name in before}
assert not any(name.split(".")[0] in ("matplotlib", "tyro", "rich") for name in sys.modules)
# Asking for a device count is refused once a backend has started.
jax.config.update("jax_num_cpu_devices", 3)
print(jax.local_device_count())
"""
    assert fresh(code) == ["3"]
