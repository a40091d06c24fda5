import "elf"

rule ELF_UPX_Tampered : packed {
    meta:
        description = "Packed program whose traces of the packer were changed"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1027/002/"
        severity = "medium"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $magic = "UPX!" ascii
        $info = "$Info: This file is packed with the UPX" ascii
        $id = "$Id: UPX " ascii
    condition:
        uint32(0) == 0x464c457f and filesize < 32MB and elf.number_of_sections == 0
        and $magic and not ($info and $id)
}
