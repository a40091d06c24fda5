rule Reverse_Shell_Bash_Script : reverse_shell {
    meta:
        description = "Shell script that ties a shell to a network connection"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1059/004/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $redirect = /(ba|da|z|k)?sh\s+-i\s*(>&|&>|2>&1\s*>)\s*\/dev\/(tcp|udp)\/[^\s\/]{1,255}\/[0-9]{1,5}/
        $descriptor = /exec\s+[0-9]{1,3}<>\s*\/dev\/(tcp|udp)\/[^\s\/]{1,255}\/[0-9]{1,5}[^\x00]{0,200}(sh\s+(-i\s+)?<&|while\s+read)/
        $fifo = /mkfifo\s+\S{1,100}[^\x00]{0,200}\bsh\s+-i[^\x00]{0,80}\|\s*(nc|ncat|openssl\s+s_client|telnet)\b/
    condition:
        filesize < 1MB and any of them
}
