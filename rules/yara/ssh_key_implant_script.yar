rule SSH_Key_Implant_Script : persistence {
    meta:
        description = "Script that adds a key to the list of those who may log in"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1098/004/"
        severity = "medium"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $key = /(ssh-(rsa|ed25519|dss)|ecdsa-sha2-nistp(256|384|521))\s{1,4}AAAA[0-9A-Za-z+\/=]{20}/
        $append = />>?\s{0,4}["']?[\w.\/~${}-]{0,200}authorized_keys/
        $open = /chmod\s+(600|700|0600)\s+\S{0,200}\.ssh/
        $immutable = /chattr\s+(-\w+\s+)?\+\w*[ai]\w*\s+\S{0,200}authorized_keys/
        $quiet = /(nohup|crontab|\/etc\/cron|unset\s+HISTFILE|history\s+-c|curl\s|wget\s)/
    condition:
        uint16(0) == 0x2123 and filesize < 1MB and $key and $append and any of ($open, $immutable, $quiet)
}
