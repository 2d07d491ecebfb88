ringkv_unit_tests(STEMS config frame message command identity
  LIBRARIES ringkv_node ringkv_base_uv ringkv_base)
