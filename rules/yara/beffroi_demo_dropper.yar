rule Beffroi_Demo_Dropper : demo {
    meta:
        description = "Harmless script of the story that make run tells"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1105/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $marker = "BEFFROI-DEMO-DROPPER-7f3a" ascii
    condition:
        uint16(0) == 0x2123 and filesize < 64KB and $marker
}
