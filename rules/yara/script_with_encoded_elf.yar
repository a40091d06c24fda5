rule Script_With_Encoded_ELF : dropper {
    meta:
        description = "Script that carries a program in base64 and runs it"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1140/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $elf = /f0VMR(gI|gE)[A-Za-z0-9+\/]{40}/
        $decode = /(base64\s+(-\w*[dD]|--decode)|b64decode\s*\(|openssl\s+(enc\s+)?(-\w+\s+){0,3}-?base64|decode_base64\s*\()/
        $run = /(chmod\s+(\+x|[0-7]{3,4})|os\.chmod|memfd_create|\.\/|\/tmp\/|\/dev\/shm\/)/
    condition:
        uint16(0) == 0x2123 and filesize < 16MB and $elf and $decode and $run
}
