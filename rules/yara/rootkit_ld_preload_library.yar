rule Rootkit_LD_Preload_Library : rootkit {
    meta:
        description = "Library that hides files or connections from programs that it is loaded into"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1574/006/"
        severity = "critical"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $preload = "/etc/ld.so.preload" ascii
        $next = "dlsym" ascii
        $hook1 = "readdir64" ascii fullword
        $hook2 = "readdir" ascii fullword
        $hook3 = "__xstat" ascii fullword
        $hook4 = "fopen64" ascii fullword
        $hook5 = "pam_authenticate" ascii fullword
        $hook6 = "getpwnam" ascii fullword
        $hook7 = "accept" ascii fullword
        $hide1 = "/proc/net/tcp" ascii
        $hide2 = "/proc/self/fd" ascii
        $hide3 = "/proc/%d" ascii
        $hide4 = "LD_PRELOAD" ascii
    condition:
        uint32(0) == 0x464c457f and filesize < 2MB and $preload and $next and 3 of ($hook*) and any of ($hide*)
}
