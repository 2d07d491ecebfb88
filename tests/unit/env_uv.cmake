# The real env: base/*_uv.c.
ringkv_unit_tests(STEMS env_uv file_uv net_uv LIBRARIES ringkv_base_uv)
