ringkv_unit_tests(
  STEMS address buffer cell checksum codec histogram hlc json list log memory mutex prng resp
        resp_request status token
  LIBRARIES ringkv_base)
