# The client library, against nodes played by threads.
ringkv_unit_tests(STEMS operation topology_view client record_file LIBRARIES ringkv_client)
