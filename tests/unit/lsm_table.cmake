# The table half of the engine.
ringkv_unit_tests(STEMS block bloom budget cache slab merge gap LIBRARIES ringkv_lsm m)
ringkv_unit_tests(STEMS table table_damage table_file table_leaf LIBRARIES ringkv_lsm ringkv_base_uv)
