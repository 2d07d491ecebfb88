# What programs of tools/ compute, apart from how they print it.
ringkv_unit_tests(STEMS scheme key_load what_if svg LIBRARIES ringkv_whatif)
