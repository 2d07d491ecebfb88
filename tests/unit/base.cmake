ringkv_unit_tests(
  STEMS address buffer cell checksum codec histogram hlc json list log memory prng resp resp_request
        token
  LIBRARIES ringkv_base)
