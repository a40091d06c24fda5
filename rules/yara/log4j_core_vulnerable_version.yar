rule Log4j_Core_Vulnerable_Version : log4shell {
    meta:
        description = "Build properties of a log4j-core release that CVE-2021-44228 or CVE-2021-45046 concerns"
        author = "Beffroi project"
        reference = "https://logging.apache.org/security.html"
        severity = "high"
        license = "Apache-2.0"
        date = "2026-11-22"
    strings:
        $group = /(^|\n)groupId=org\.apache\.logging\.log4j\s*(\r?\n|$)/
        $artifact = /(^|\n)artifactId=log4j-core\s*(\r?\n|$)/
        $version = /(^|\n)version=2\.(\d|1[0-5])(\.\d+)?(-[\w.-]{1,20})?\s*(\r?\n|$)/
        // Releases for old Java versions that have the correction.
        $corrected = /(^|\n)version=2\.(3\.[12]|12\.[234])\s*(\r?\n|$)/
    condition:
        filesize < 4KB and $group and $artifact and $version and not $corrected
}
