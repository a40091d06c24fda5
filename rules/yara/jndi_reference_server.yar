rule JNDI_Reference_Server : log4shell {
    meta:
        description = "Java class that answers LDAP requests with references to code elsewhere"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1190/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-22"
    strings:
        $reference = "\x01\x00\x13javaNamingReference"
        $base = /\x01\x00\x0cjavaCode[bB]ase/
        $factory = "\x01\x00\x0bjavaFactory"
        $server = /com\/unboundid\/ldap\/listener\/(InMemoryDirectoryServer|interceptor\/InMemoryInterceptedSearchResult|interceptor\/InMemoryOperationInterceptor)/
    condition:
        uint32be(0) == 0xCAFEBABE and filesize < 256KB and $reference and $base and $factory and $server
}
