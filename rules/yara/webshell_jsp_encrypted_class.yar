rule Webshell_JSP_Encrypted_Class : webshell {
    meta:
        description = "JSP page that decrypts a class from a request and runs it"
        author = "Beffroi project"
        reference = "https://attack.mitre.org/techniques/T1505/003/"
        severity = "critical"
        license = "Apache-2.0"
        date = "2026-11-22"
    strings:
        $page = /<(%[@!=\s]|jsp:)/
        $cipher = /Cipher\s*\.\s*getInstance\s*\(/
        $key = /new\s+(javax\.crypto\.spec\.)?SecretKeySpec\s*\(/
        $define = /defineClass\s*\(/
        $input = /request\s*\.\s*get(Reader|InputStream|Parameter|Header)\s*\(/
        $create = /\.\s*newInstance\s*\(/
    condition:
        filesize < 2MB and all of them
}
