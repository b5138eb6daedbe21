import stat

import jax

from ad_core.runtime.compilation import LEAST, LEAST_SECONDS, compilation_cache, keep_programs


def test_the_folder_is_the_users_own_and_can_be_chosen(tmp_path, monkeypatch):
    former = jax.config.jax_compilation_cache_dir
    try:
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        monkeypatch.delenv("ZFN_CACHE", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        folder = compilation_cache()
        assert folder == tmp_path / "zfn-ad" / "jax"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert jax.config.jax_compilation_cache_dir == str(folder)
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "other"))
        assert compilation_cache() == tmp_path / "other"
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "other")
    finally:
        jax.config.update("jax_compilation_cache_dir", former)


def test_a_library_leaves_the_folder_that_its_process_has_chosen(tmp_path, monkeypatch):
    former = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("ZFN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "chosen"))
        keep_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "chosen")
        jax.config.update("jax_compilation_cache_dir", None)
        keep_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "zfn-ad" / "jax")
    finally:
        jax.config.update("jax_compilation_cache_dir", former)


def test_without_a_place_for_programs_there_is_no_folder_and_no_error(tmp_path, monkeypatch):
    former = jax.config.jax_compilation_cache_dir
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir == former


def test_short_programs_are_kept_too_unless_the_environment_says_otherwise(tmp_path, monkeypatch):
    folder, least = jax.config.jax_compilation_cache_dir, getattr(jax.config, LEAST)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    try:
        jax.config.update(LEAST, 1.0)
        monkeypatch.setenv(LEAST.upper(), "1.0")
        compilation_cache()
        assert getattr(jax.config, LEAST) == 1.0
        monkeypatch.delenv(LEAST.upper())
        compilation_cache()
        assert getattr(jax.config, LEAST) == LEAST_SECONDS
    finally:
        jax.config.update(LEAST, least)
        jax.config.update("jax_compilation_cache_dir", folder)
