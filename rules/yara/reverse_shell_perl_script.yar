rule Reverse_Shell_Perl_Script : reverse_shell {
    meta:
        description = "Perl script that ties a shell to a socket"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1059/"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-21"
    strings:
        $socket = /use\s+(IO::)?Socket/
        $connect = /(connect\s*\(\s*\w{1,20}\s*,\s*(pack_)?sockaddr_in|IO::Socket::INET\s*(->\s*new)?\s*\(?\s*\(?\s*(PeerAddr|"))/
        $tie = /open\s*\(?\s*STD(IN|OUT|ERR)\s*,\s*["'][<>+]{1,2}&/
        $tie2 = /STDIN->fdopen\s*\(/
        $shell = /(exec|system)\s*[({\s]\s*["'{]?\s*\/bin\/(ba|da|z|k)?sh\b/
    condition:
        filesize < 1MB and $socket and $connect and any of ($tie*) and $shell
}
