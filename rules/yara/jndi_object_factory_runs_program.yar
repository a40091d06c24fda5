rule JNDI_Object_Factory_Runs_Program : log4shell {
    meta:
        description = "Java class that a JNDI reference loads and that starts a program"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1190/"
        severity = "critical"
        license = "Apache-2.0"
        date = "2026-11-22"
    strings:
        $factory = "\x01\x00\x1ejavax/naming/spi/ObjectFactory"
        $method = "\x01\x00\x11getObjectInstance"
        $runtime = "\x01\x00\x11java/lang/Runtime"
        $exec = "\x01\x00\x04exec"
        $builder = "\x01\x00\x18java/lang/ProcessBuilder"
    condition:
        uint32be(0) == 0xCAFEBABE and filesize < 256KB and $factory and $method and (($runtime and $exec) or $builder)
}
