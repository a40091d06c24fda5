rule Log4j_JndiLookup_Class : log4shell {
    meta:
        description = "Class that makes log4j-core before 2.16 resolve JNDI names in what it logs (CVE-2021-44228)"
        author = "Beffroi project"
        reference = "https://nvd.nist.gov/vuln/detail/CVE-2021-44228"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-22"
    strings:
        // Constants of a class file: one byte kind, two bytes length, text.
        $this = "\x01\x00\x2forg/apache/logging/log4j/core/lookup/JndiLookup"
        $prefix = "\x01\x00\x0ejava:comp/env/"
        // Versions in which JNDI is off unless somebody switches it on.
        $guard = /\x01\x00.(isJndi(Lookup)?Enabled|isIsJndiEnabled|isEnableJndi(Lookup)?)/s
    condition:
        uint32be(0) == 0xCAFEBABE and filesize < 1MB and $this and $prefix and not $guard
}
